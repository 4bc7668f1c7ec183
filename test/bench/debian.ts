import { spawnSync } from 'node:child_process';

/** The peers, as Debian ships them; a disabled service is not needed, since the bench starts its own. */
const peers = { etcd: 'etcd-server', etcdctl: 'etcd-client', serf: 'serf', nsenter: 'util-linux', ip: 'iproute2' };

const has = (program: string): boolean =>
  spawnSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' }).status === 0;

/** What nearly every table runs in, or beside: an engine, and machines as namespaces; Chromium reads the page. */
export const installCommon = (): void =>
  install({ dockerd: 'docker.io', iptables: 'iptables', ip: 'iproute2', git: 'git', chromium: 'chromium' });

export const installPeers = (): void => install(peers);

/** Installs what is missing of these programs, by package. Throws with apt's own words when that fails. */
export function install(wanted: Readonly<Record<string, string>>): void {
  const missing = Object.entries(wanted).filter(([program]) => !has(program));
  fetchPackages(missing.map(([, name]) => name));
}

/** A package that brings no program to look for. */
export function installPackage(name: string): void {
  if (spawnSync('dpkg', ['-s', name]).status !== 0) fetchPackages([name]);
}

function fetchPackages(missing: readonly string[]): void {
  if (missing.length === 0) return;
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  spawnSync('apt-get', ['update', '-q'], { env, stdio: 'ignore' });
  const lock = ['-o', 'DPkg::Lock::Timeout=300'];
  const done = spawnSync('apt-get', [...lock, 'install', '-y', '-q', '--no-install-recommends', ...missing], {
    env,
    encoding: 'utf8',
  });
  if (done.status !== 0) throw new Error(`this needs ${missing.join(', ')}; apt-get: ${done.stderr}`);
}

const firstLine = (program: string, ...args: string[]): string =>
  spawnSync(program, args, { encoding: 'utf8' }).stdout.split('\n')[0]?.trim() ?? '';

/** For the last line of the table: what was measured against. */
export const peerVersions = (): string => `${firstLine('etcd', '--version')}, ${firstLine('serf', 'version')}`;
