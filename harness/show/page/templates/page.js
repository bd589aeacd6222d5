// Filters, tooltips, light or dark. The page says everything without it, too.
"use strict";
(() => {
  const root = document.documentElement;
  const all = (query, within = document) => [...within.querySelectorAll(query)];
  const form = document.querySelector(".filters");
  const said = form.querySelector("output");

  const chosen = (name) => {
    const boxes = all(`input[name="${name}"]`, form);
    return boxes.length ? new Set(boxes.filter((box) => box.checked).map((box) => box.value)) : null;
  };

  const filter = () => {
    const kinds = ["backend", "device", "model"].map((name) => [name, chosen(name)]);
    for (const item of all("main [data-backend], main [data-model]")) {
      const hidden = kinds.some(([name, kept]) => {
        const value = item.getAttribute(`data-${name}`);
        return value !== null && kept && !kept.has(value);
      });
      item.classList.toggle("off", hidden);
    }
    const boxes = all("input", form);
    const off = boxes.filter((box) => !box.checked);
    form.querySelector("[type=reset]").hidden = !off.length;
    said.textContent = off.length
      ? `without ${off.map((box) => box.value).join(", ")}; sentences still speak of all`
      : "";
  };
  form.addEventListener("change", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  filter(); // browsers keep boxes over a reload

  const theme = document.querySelector(".theme");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  const tip = document.getElementById("tip");
  let section = null;
  const leave = () => {
    tip.hidden = true;
    if (section) {
      section.classList.remove("focused");
      all(".lit", section).forEach((item) => item.classList.remove("lit"));
      section = null;
    }
  };
  const show = (event) => {
    leave();
    const target = event.target.closest("main [data-tip], main .charts [data-backend]");
    if (!target) return;
    const owner = target.closest("[data-backend]");
    section = target.closest(".charts");
    if (owner && section) {
      section.classList.add("focused");
      for (const item of all("[data-backend]", section)) {
        const same = item.dataset.backend === owner.dataset.backend && item.dataset.device === owner.dataset.device;
        item.classList.toggle("lit", same);
      }
    }
    const text = target.closest("[data-tip]")?.dataset.tip;
    if (!text) return;
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = Math.min(Math.max(event.clientX + 12, 8), innerWidth - box.width - 8);
    const above = event.clientY - box.height - 12;
    tip.style.left = `${left}px`;
    tip.style.top = `${above > 8 ? above : event.clientY + 16}px`;
  };
  document.addEventListener("pointerover", show);
  document.addEventListener("pointerleave", leave);
  document.addEventListener("scroll", leave, { passive: true });
  document.addEventListener("keydown", (event) => event.key === "Escape" && leave());
})();
