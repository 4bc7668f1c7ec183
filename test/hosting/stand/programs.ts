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

/** The same, for the gate's stand. */
export const gatePrograms = {
  nft: 'nftables',
  ip: 'iproute2',
  busybox: 'busybox-static',
  setpriv: 'util-linux',
  sysctl: 'procps',
  curl: 'curl',
  git: 'git',
  ssh: 'openssh-client',
};
