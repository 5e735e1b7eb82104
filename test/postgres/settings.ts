/** Settings of every PostgreSQL server that is started for tests, wherever it comes from. */
export const testSettings: Readonly<Record<string, string | number | boolean>> = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  // Data that is thrown away need not survive a power cut. Benchmarks turn these on again.
  fsync: false,
  full_page_writes: false,
  shared_buffers: '64MB',
  max_connections: 200,
  max_prepared_transactions: 10,
  // Files in the data directory rather than in /dev/shm: removed with it, and not limited to 64 MB in a container.
  dynamic_shared_memory_type: 'mmap',
  timezone: 'UTC',
  log_timezone: 'UTC',
}
