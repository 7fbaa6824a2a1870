"""What takes several steps and several processes: a reload, a restart, another number of workers."""
