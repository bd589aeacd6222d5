"""Specs drawn at random: do all backends compute the same network, whatever is written?"""
