import { execFileSync, spawnSync } from 'node:child_process';
import type { Lan } from '../e2e/namespaces.ts';

/** What a port of a small switch keeps before it drops. */
const queueBytes = 256 << 10;

/**
 * Every cable of the LAN from now on carries so much and no more, each way: the machine's own queue and the port of the
 * switch towards it are both first in, first out, as in a small switch. (A Linux with fq_codel does better on its own side;
 * this kernel has neither that nor netem.) Returns what takes it away again.
 */
export function narrow(lan: Lan, machines: number, megabits: number): () => void {
  const burst = Math.max(16 << 10, Math.round((megabits * 1e6) / 8 / 1000));
  const shape = ['tbf', 'rate', `${megabits}mbit`, 'burst', `${burst}b`, 'limit', `${queueBytes}b`];
  const cables: [namespace: string, device: string][] = [];
  for (let i = 1; i <= machines; i++) cables.push([lan.namespace(i), 'eth0'], [lan.hub, `p${i}`]);
  for (const [namespace, device] of cables)
    execFileSync('tc', ['-n', namespace, 'qdisc', 'replace', 'dev', device, 'root', ...shape]);
  return () => {
    for (const [namespace, device] of cables)
      spawnSync('tc', ['-n', namespace, 'qdisc', 'del', 'dev', device, 'root'], { stdio: 'ignore' });
  };
}

/** Bytes that machine i has sent over its cable so far, as the switch counts them. */
export function sentBytes(lan: Lan, i: number): number {
  const text = execFileSync('ip', ['-n', lan.hub, '-j', '-s', 'link', 'show', 'dev', `p${i}`], { encoding: 'utf8' });
  return (JSON.parse(text) as { stats64: { rx: { bytes: number } } }[])[0]?.stats64.rx.bytes ?? 0;
}
