import { accessSync, constants, existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { execCleanly } from '../clean-spawn.ts';
import { systemClock } from '../clock.ts';
import { diskOf } from '../disk-use.ts';
import { gpusHere } from '../machine/figures.ts';
import { pciVendors } from '../machine/gpu-sysfs.ts';
import { showBytes } from '../settings/quantities.ts';
import { places } from '../store/home.ts';
import { type Finding, finding } from './finding.ts';

const run = execCleanly;

export async function checkTools(): Promise<Finding[]> {
  const versionOf = async (file: string): Promise<string | null> => {
    try {
      return (await run(file, ['--version'], { timeout: 5_000 })).stdout.split('\n')[0] ?? '';
    } catch {
      return null;
    }
  };
  const [git, bash] = await Promise.all([versionOf('git'), versionOf('bash')]);
  return [
    finding('node', 'ok', process.version),
    git === null
      ? finding(
          'git',
          'fail',
          'no git here, which fetches the sources of jobs: none is taken',
          'sudo apt-get install git',
        )
      : finding('git', 'ok', git.replace(/^git version /, '')),
    bash === null
      ? finding('bash', 'warn', 'no bash here: the process executor needs it', 'sudo apt-get install bash')
      : finding('bash', 'ok', bash.replace(/^GNU bash, version /, '')),
  ];
}

/** Identity and store, without making either; an open store belongs to the running agent and is left alone. */
export async function checkHome(
  home: string,
  isRunning: boolean,
  /** Told of the ledger that lies there. */
  onLedger: (ledger: Ledger, self: string | null) => void,
): Promise<Finding[]> {
  const at = places(home);
  const found: Finding[] = [];
  let self: string | null = null;
  try {
    accessSync(existsSync(home) ? home : nearest(home), constants.W_OK);
    found.push(finding('home', 'ok', existsSync(home) ? home : `${home} (made by join)`));
  } catch {
    return [finding('home', 'fail', `${home} cannot be written by this user`, 'choose another: --home DIR')];
  }
  try {
    const { readIdentity } = await import('../secrets/identity.ts');
    self = await readIdentity(home);
    found.push(finding('identity', 'ok', self ?? 'none yet (made by join)'));
  } catch (error) {
    found.push(failed('identity', error));
  }
  if (isRunning) return [...found, finding('store', 'ok', 'open in the running agent')];
  const { hasStore, openStore } = await import('../store/level-store.ts');
  if (!existsSync(at.store) || !hasStore(at.store))
    return [...found, finding('store', 'ok', 'none yet (made by join)')];
  try {
    const store = await openStore(at.store);
    try {
      const { committed } = await store.load();
      const runs = await store.runs();
      if (committed !== null) onLedger(committed, self);
      const mesh = committed === null ? 'no mesh yet' : `mesh ${committed.mesh.name}`;
      found.push(finding('store', 'ok', `readable, ${mesh}, ${runs.length} unfinished runs`));
    } finally {
      await store.close();
    }
  } catch (error) {
    found.push(failed('store', error));
  }
  return found;
}

const nearest = (path: string): string => (existsSync(path) ? path : nearest(dirname(path)));
const failed = (what: string, error: unknown): Finding =>
  finding(what, 'fail', sentenceOf(error), error instanceof AutogitError ? error.hint : null);

export async function checkDisk(home: string): Promise<Finding> {
  const { totalBytes, freeBytes } = diskOf(await statfs(nearest(home)));
  const share = totalBytes > 0 ? freeBytes / totalBytes : 1;
  const said = `${showBytes(freeBytes)} of ${showBytes(totalBytes)} free`;
  const fix = 'make room on this disk, for example: docker system prune';
  if (share < 0.01) return finding('disk', 'fail', `${said}: less than 1 %, no job may begin here`, fix);
  return share < 0.1 ? finding('disk', 'warn', said, fix) : finding('disk', 'ok', said);
}

export async function checkGpus(): Promise<Finding> {
  const [{ nvidia, gpus }, vendors] = await Promise.all([gpusHere(0), pciVendors()]);
  const names = gpus.map(({ model, memoryBytes }) => `${model} (${showBytes(memoryBytes)})`);
  if (nvidia.problems.length > 0)
    return finding(
      'gpu',
      'fail',
      `the NVIDIA driver says: ${nvidia.problems[0]}`,
      'after an update of the driver: sudo reboot',
    );
  if (!nvidia.isInstalled && vendors.includes('0x10de'))
    return finding(
      'gpu',
      'warn',
      'there is an NVIDIA card, but no nvidia-smi: jobs cannot use it',
      "install NVIDIA's driver, then: nvidia-smi",
    );
  return finding('gpu', 'ok', names.length > 0 ? names.join(', ') : 'none');
}

export async function checkClock(): Promise<Finding> {
  try {
    systemClock().bootMs();
  } catch (error) {
    return finding('clock', 'fail', `/proc/uptime cannot be read: ${sentenceOf(error)}`, 'mount -t proc proc /proc');
  }
  if (Date.now() < Date.UTC(2025, 0, 1))
    return finding('clock', 'fail', `the clock says ${new Date().toISOString()}`, 'sudo timedatectl set-ntp true');
  const synchronized = await run('timedatectl', ['show', '--property=NTPSynchronized', '--value'], {
    timeout: 5_000,
  }).then(
    ({ stdout }) => stdout.trim(),
    () => 'unknown',
  );
  if (synchronized === 'no')
    return finding(
      'clock',
      'warn',
      'it is not set by NTP (times in logs may be off; the mesh itself does not mind)',
      'sudo timedatectl set-ntp true',
    );
  return finding(
    'clock',
    'ok',
    synchronized === 'yes' ? 'boot time readable, set by NTP' : 'boot time readable; whether NTP sets it is not known',
  );
}
