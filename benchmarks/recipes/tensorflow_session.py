"""TensorFlow 1: placeholders, `feed_dict`, a session and its Adam."""

import tensorflow.compat.v1 as tf


def conv(x, filters, size, stride=1, padding="SAME", bias=True):
    shape = [size, size, x.shape[-1], filters]
    kernel = tf.get_variable("w", shape, initializer=tf.glorot_uniform_initializer())
    x = tf.nn.conv2d(x, kernel, strides=stride, padding=padding)
    return tf.nn.bias_add(x, tf.get_variable("w", filters)) if bias else x


def dense(x, units):
    initializer = tf.glorot_uniform_initializer()
    kernel = tf.get_variable("w", [x.shape[-1], units], initializer=initializer)
    return tf.matmul(x, kernel) + tf.get_variable("w", units)


def pool(x):
    return tf.nn.max_pool2d(x, 2, 2, "VALID")


def flat(x):
    return tf.reshape(x, [-1, int(x.shape[1] * x.shape[2] * x.shape[3])])


def mnist_1conv(x):
    x = pool(tf.nn.relu(conv(x, 32, 3, padding="VALID")))
    return dense(tf.nn.dropout(tf.nn.relu(dense(flat(x), 128)), rate=0.5), 10)


def mnist_2conv(x):
    x = pool(tf.nn.relu(conv(x, 32, 5)))
    x = pool(tf.nn.relu(conv(x, 64, 5)))
    return dense(tf.nn.dropout(tf.nn.relu(dense(flat(x), 1024)), rate=0.5), 10)


MODELS = {"mnist-1conv": mnist_1conv, "mnist-2conv": mnist_2conv}


class Training:
    def __init__(self, model, images, labels):
        tf.disable_eager_execution()
        self.x = tf.placeholder(tf.float32, [None, *images.shape[1:]])
        self.y = tf.placeholder(tf.int64, [None])
        with tf.variable_scope("net", custom_getter=numbered()):
            logits = MODELS[model](self.x)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=self.y, logits=logits)
        self.loss = tf.reduce_mean(losses)
        self.step = tf.train.AdamOptimizer().minimize(self.loss)
        self.session = tf.Session()
        self.session.run(tf.global_variables_initializer())
        self.images, self.labels = images, labels

    def train(self, batches):
        for batch in batches:
            feed = {self.x: self.images[batch], self.y: self.labels[batch]}
            _, loss = self.session.run([self.step, self.loss], feed)
        return float(loss)


def numbered():
    """Name variables by their number, so that the models above need not."""
    count = iter(range(1000))

    def create(getter, name, *arguments, **options):
        return getter(f"{name}_{next(count)}", *arguments, **options)

    return create


start = Training
