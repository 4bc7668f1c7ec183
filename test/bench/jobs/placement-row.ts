import { classKey } from '../../../protocol/ids.ts';
import type { Ledger } from '../../../protocol/ledger.ts';
import { Lab } from '../../unit/jobs-lab.ts';
import { gpu3090, measured } from '../../unit/jobs-lab-machines.ts';
import { maxUnder, type Row, row } from '../figures.ts';

const machines = 1_000;
const waiting = 10_000;
const tagSets = [[], ['gpu'], ['cpu-2'], ['mem-4g'], ['vram-20g'], ['gpu', 'mem-16g'], ['cpu-16'], ['docker']];

const withClasses = (ledger: Ledger): Ledger => ({
  ...ledger,
  classes: Object.fromEntries(
    tagSets.map((tags, index) => [
      classKey(tags),
      {
        ...{ tags, state: 'ready' as const, nonce: `n${index}`, runner: index + 1, token: `t${index}` },
        ...{ lastUsedAt: 1_763_700_000_000, given: false },
      },
    ]),
  ),
});

/** ms of the core's one step that hears the queue and places all of it: the whole of `stepJobs`, by the same lab as the unit tests. */
export function placementRow(trials: number): Row[] {
  const ours: number[] = [];
  for (let trial = 0; trial < trials; trial++) {
    const names = Array.from({ length: machines }, (_, i) => `node-${i}`);
    const lab = new Lab({
      machines: Object.fromEntries(
        names.map((name, i) => [name, measured({ cores: 8, ...(i % 3 === 0 && { gpus_: [gpu3090] }) })]),
      ),
      ledger: withClasses,
      mute: ['gossip', 'send', 'read-queue'],
    });
    const [leader] = names as [string];
    for (const name of names.slice(1)) {
      const gossip = lab.log.findLast(({ node, effect }) => node === name && effect.kind === 'gossip')?.effect;
      if (gossip?.kind === 'gossip') lab.feed(leader, { kind: 'report-heard', from: name, report: gossip.report });
    }
    for (let job = 1; job <= waiting; job++) lab.push(job, tagSets[job % tagSets.length]);
    const jobs = [...lab.pending];
    const began = performance.now();
    lab.feed(leader, { kind: 'queue-read', jobs, complete: true });
    ours.push(performance.now() - began);
    const placed = lab.effects('note').filter((note) => note.event === 'grant-sent').length;
    if (placed === 0) throw new Error('nothing was placed');
  }
  const measure = `one placement pass, ${machines} nodes, ${waiting} waiting jobs`;
  return [row({ measure, unit: 'ms', ours, targets: [maxUnder(50)] })];
}
