import { execFileSync, spawn } from 'node:child_process';
import { Lan } from '../e2e/namespaces.ts';

const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: ['ignore', 'pipe', 'pipe'] });
const isInside = 'AUTOGIT_BENCH_NAMESPACE';

/**
 * Runs this program again in a network namespace of its own, from which `benchLan` may reach the machines of the rig;
 * resolves with its exit code. Null in that inner program.
 */
export async function outside(): Promise<number | null> {
  if (process.env[isInside]) return null;
  const args = ['--net', process.execPath, ...process.argv.slice(1)];
  const child = spawn('unshare', args, { stdio: 'inherit', env: { ...process.env, [isInside]: '1' } });
  // Ctrl-C reaches both; the inner one cleans up, and its end is ours.
  process.on('SIGINT', () => {});
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => resolve(code ?? 1));
  });
}

/** Machines 1-3 are our agents', 4-6 etcd's, 7-9 serf's; this process sits on the same bridge, as etcd's client. */
export const places = { ours: 1, etcd: 4, serf: 7 } as const;

export const machines = 9;

export function benchLan(): Lan {
  const lan = new Lan(machines);
  const hub = `ag${process.pid}hub`;
  ip('link', 'set', 'lo', 'up');
  ip('link', 'add', 'bench0', 'type', 'veth', 'peer', 'name', 'p99', 'netns', hub);
  ip('-n', hub, 'link', 'set', 'p99', 'master', 'br0', 'up');
  ip('addr', 'add', '10.77.0.99/24', 'dev', 'bench0');
  ip('link', 'set', 'bench0', 'up');
  return lan;
}
