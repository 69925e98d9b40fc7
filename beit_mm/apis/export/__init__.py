"""Folders that other libraries load by themselves, proved before they appear.

A target is a module with ``adapt(subject)``, ``write(subject, folder)`` and
``prove(subject, folder)``.
"""
