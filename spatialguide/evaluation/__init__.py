"""Evaluation: does the picture show what the prompt says?"""
