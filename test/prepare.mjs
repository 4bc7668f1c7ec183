// What the tests need from Debian, installed when missing: Docker Engine, iproute2 for namespaces, git for Git over HTTP, systemd's own check of a unit, Prometheus with promtool, a browser.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const wanted = {
  dockerd: 'docker.io',
  ip: 'iproute2',
  git: 'git',
  iptables: 'iptables',
  bash: 'bash',
  prometheus: 'prometheus',
  'systemd-analyze': 'systemd',
  chromium: 'chromium',
  mosquitto: 'mosquitto',
};
const folders = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];
const missing = Object.entries(wanted).filter(([name]) => !folders.some((folder) => existsSync(`${folder}/${name}`)));
if (missing.length > 0) {
  const packages = missing.map(([, name]) => name);
  if (process.getuid?.() !== 0) {
    console.error(
      `prepare: missing ${packages.join(', ')}; run as root, or install them first: sudo apt-get install ${packages.join(' ')}`,
    );
    process.exit(1);
  }
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  console.log(`prepare: installing ${packages.join(', ')}`);
  spawnSync('apt-get', ['update', '-q'], { env, stdio: 'ignore' });
  const done = spawnSync(
    'apt-get',
    ['-o', 'DPkg::Lock::Timeout=300', 'install', '-y', '-q', '--no-install-recommends', ...packages],
    {
      env,
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  );
  if (done.status !== 0) {
    console.error(`prepare: apt-get install ${packages.join(' ')} failed`);
    process.exit(1);
  }
}
