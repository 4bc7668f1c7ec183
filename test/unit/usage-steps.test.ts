import { expect, it } from 'vitest';
import { UsageSteps } from '../../node/history/usage-steps.ts';
import { Usage } from '../../protocol/history.ts';
import { usageSamples } from '../../scheduler/history/usage-samples.ts';
import { Lab, wallStart } from './jobs-lab.ts';
import { GiB, gpu3090, measured } from './jobs-lab-machines.ts';
import { viewOf } from './snapshot-lab.ts';

const step = 300_000;
const day = 288;
const start = Math.ceil(wallStart / step) * step;
const names = { node: (node: string) => (node === 'gone' ? null : node.toUpperCase()), gpu: () => 'RTX 3090 Ti' };
const sample = (cpu: number) => ({ cpu, memory: 0.5, gpus: { u1: { load: cpu, memory: 0.25 } } });

it('a mean each five minutes, the last one at the end; null where nothing was heard', () => {
  const steps = new UsageSteps();
  steps.add({ kang: sample(0.2) }, start);
  steps.add({ kang: sample(0.4), gone: sample(1) }, start + 1_000);
  steps.add({ kang: sample(1) }, start + 3 * step);
  const usage = steps.shown(names, start + 3 * step);
  expect(Usage.parse(usage)).toEqual(usage);
  expect(usage).toMatchObject({ stepMs: step, from: new Date(start - (day - 4) * step).toISOString() });
  expect(usage.machines.map(({ node }) => node)).toEqual(['KANG']);
  const [kang] = usage.machines;
  expect(kang?.cpu).toHaveLength(day);
  expect(kang?.cpu.slice(-5)).toEqual([null, 0.3, null, null, 1]);
  expect(kang?.gpus).toMatchObject([{ name: 'RTX 3090 Ti' }]);
  expect(kang?.gpus[0]?.memory.slice(-5)).toEqual([null, 0.25, null, null, 0.25]);
  // Nobody is heard any more: time goes on all the same.
  expect(steps.shown(names, start + 5 * step).machines[0]?.cpu.slice(-4)).toEqual([null, 1, null, null]);
  expect(steps.shown(names, start + (day + 3) * step).machines).toEqual([]);
});

it('survives a restart; of what was kept only what is whole is taken up', () => {
  const steps = new UsageSteps();
  steps.add({ kang: sample(0.25), 'desktop-1': sample(0.75) }, start);
  const kept = JSON.parse(JSON.stringify(steps.kept()));
  const next = new UsageSteps();
  next.takeUp(kept);
  expect(next.shown(names, start)).toEqual(steps.shown(names, start));
  next.add({ kang: sample(0.5) }, start + step);
  expect(next.shown(names, start + step).machines.map(({ cpu }) => cpu.slice(-2))).toEqual([
    [0.75, null],
    [0.25, 0.5],
  ]);
  for (const bad of [
    null,
    'x',
    [],
    {},
    { v: 2 },
    { v: 1, step: 'x', figures: {} },
    { v: 1, step: 1, figures: { a: 3 } },
  ]) {
    const empty = new UsageSteps();
    empty.takeUp(bad);
    expect(empty.shown(names, start).machines).toEqual([]);
  }
  const short = new UsageSteps();
  short.takeUp({ v: 1, step: start / step, figures: { kang: { cpu: 'AAAA', memory: 7 } } });
  expect(
    short
      .shown(names, start)
      .machines.flatMap(({ cpu }) => cpu)
      .every((cell) => cell === null),
  ).toBe(true);
});

it('a clock that is set back begins anew; by a moment it does not', () => {
  const steps = new UsageSteps();
  steps.add({ kang: sample(1) }, start + 10 * step);
  steps.add({ kang: sample(0) }, start + 9 * step);
  expect(steps.shown(names, start + 10 * step).machines[0]?.cpu.slice(-2)).toEqual([null, 0.5]);
  steps.add({ kang: sample(0.25) }, start);
  expect(steps.shown(names, start).machines[0]?.cpu.slice(-2)).toEqual([null, 0.25]);
});

it('what machines use is what they measured, jobs or not; an old report counts no more', () => {
  const lab = new Lab({
    machines: {
      kang: { ...measured(), usedCpuMillis: 0 },
      'desktop-1': {
        ...measured({
          gpus_: [gpu3090],
          gpus: [{ uuid: gpu3090.uuid, usedBytes: 6 * GiB, busyPercent: 50, foreign: true }],
        }),
        usedCpuMillis: 99_000_000,
      },
    },
  });
  lab.run(5_000);
  const view = viewOf(lab, 'kang');
  const samples = usageSamples(view);
  expect(samples).toMatchObject({
    kang: { cpu: 0, gpus: {} },
    'desktop-1': { cpu: 1, gpus: { [gpu3090.uuid]: { load: 0.5, memory: expect.closeTo(0.25, 2) } } },
  });
  expect(usageSamples({ ...view, at: view.at + 3_600_000 })).toEqual({});
});
