/** Program to Debian's package, for `install`. */
export const hostingPrograms = {
  'mkfs.btrfs': 'btrfs-progs',
  psql: 'postgresql-client',
  pg_lsclusters: 'postgresql',
  'redis-server': 'redis-server',
  git: 'git',
  perl: 'perl',
  flock: 'util-linux',
};
