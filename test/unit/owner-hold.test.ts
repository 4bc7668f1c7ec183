import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { CudaCheckpoint } from '../../node/machine/cuda-checkpoint.ts';
import type { GpuUse, Workspace } from '../../node/ports.ts';
import { OwnerHold } from '../../node/runs/owner-hold.ts';
import type { RunContext } from '../../node/runs/run-context.ts';
import { Freezing } from '../../node/runs/run-freezing.ts';
import { newProgress, type RunProgress } from '../../node/runs/run-progress.ts';
import { labRun } from './jobs-lab-machines.ts';

/** A control group with process 7. */
const group = mkdtempSync(join(tmpdir(), 'autogit-owner-hold-'));
writeFileSync(join(group, 'cgroup.procs'), '7\n');
afterAll(() => rmSync(group, { recursive: true }));

/** A run with one GPU, and a driver and a place that do as a test lets them; `did` has what was asked of them, in order. */
class Held {
  did: string[] = [];
  now = 1000;
  leaderAt = 1000;
  progress: RunProgress;
  freezeFails = 0;
  advanceFails = 0;
  refusal: string | null = null;
  suspended = (): void => undefined;
  vendor = 'nvidia';
  asked: () => Promise<GpuUse[]> = async () => [{ pid: 7, bytes: 2 ** 30 }];
  resumed: () => Promise<void> = async () => undefined;
  failed: string[] = [];
  readonly freezing: Freezing;
  readonly owner: OwnerHold;
  readonly context: RunContext;

  constructor(over: Partial<RunProgress> = {}) {
    this.progress = { ...newProgress(0), phase: 'steps', ...over };
    const self = this;
    const workspace = {
      freeze: async () => {
        this.did.push('freeze');
        if (this.freezeFails-- > 0) throw new Error('no freezer');
      },
      thaw: async () => void this.did.push('thaw'),
      freezer: async () => ({ kind: 'cgroup', path: group }),
    } as unknown as Workspace;
    const options = {
      gpusByUuid: () => [{ vendor: this.vendor }],
      clock: { bootMs: () => this.now },
      leaderContactAt: () => this.leaderAt,
      log: { warn() {}, error() {} },
      gpuSuspender: {
        usesOf: () => this.asked(),
        refusal: async () => this.refusal,
        suspend: async () => {
          this.did.push('suspend');
          this.suspended();
        },
        resume: async (pids: number[]) => {
          this.did.push(`resume ${pids}`);
          await this.resumed();
        },
      },
    };
    this.freezing = new Freezing(
      { workspace, line: { heardAt: 1000, wake() {} } } as never,
      options as never,
      () => {},
    );
    this.context = {
      options,
      workspace,
      freezing: this.freezing,
      steps: [{ isAfterScript: false }, { isAfterScript: true }],
      ending: { verdict: null, signal: new AbortController().signal },
      record: {
        run: labRun({ run: 'a', node: 'kang', gpus: ['GPU-1'] }),
        get progress() {
          return self.progress;
        },
        advance: async (over: Partial<RunProgress>) => {
          if (this.advanceFails-- > 0) throw new Error('disk is full');
          this.progress = { ...this.progress, ...over };
        },
        tell() {},
      },
    } as unknown as RunContext;
    this.owner = new OwnerHold(this.context, (because) => void this.failed.push(because));
  }
}
const suspend = { how: 'suspend', orEnds: false, because: 'its owner plays' } as const;
const freeze = { ...suspend, how: 'freeze' } as const;

it('a hook of the job stands still too: it is code as that of a step; what brings files does not', async () => {
  const run = new Held({ phase: 'preparing', hooked: 1 });
  run.context.isInHook = true;
  expect(await run.owner.hold(freeze)).toMatchObject({ said: expect.stringContaining('time are free') });
  expect(run.did).toEqual(['freeze']);
  await run.owner.goOn();
  run.context.isInHook = false;
  run.did = [];
  expect(await run.owner.hold(freeze)).toMatchObject({ said: expect.stringContaining('has not begun, and waits') });
  expect(run.did).toEqual([]);
});

it('what cannot be suspended, as nobody tells what it has in GPU memory, ends where that is asked for, else it says why', async () => {
  const orEnds = { ...suspend, orEnds: true };
  const amd = new Held();
  amd.vendor = 'amd';
  expect(await amd.owner.hold(orEnds)).toEqual({ kind: 'refused', said: 'only NVIDIA’s drivers can do it' });
  expect(await amd.owner.hold(suspend)).toMatchObject({ said: expect.stringContaining('(not suspended: only NVIDIA') });
  const silent = new Held();
  silent.asked = () => new CudaCheckpoint({ smi: ['no-such-smi'] }).usesOf(new Set([7]));
  expect(await silent.owner.hold(orEnds)).toMatchObject({
    kind: 'refused',
    said: expect.stringContaining('no nvidia-smi here'),
  });
  const without = new Held();
  without.asked = async () => [];
  expect(await without.owner.hold(orEnds)).toMatchObject({ kind: 'held' });
});

it('after_script does not stand still: its five minutes would end it with nothing tidied', async () => {
  const run = new Held({ step: 1, begun: true });
  expect(await run.owner.hold(freeze)).toEqual({ kind: 'none' });
  expect(run.did).toEqual([]);
  expect(await new Held({ step: 1, begun: false }).owner.hold(freeze)).toMatchObject({ kind: 'held' });
});

it('a script that ends while the driver is asked, or moves its memory, does not stand still behind its end', async () => {
  const over = (run: Held): void => {
    run.progress = { ...run.progress, phase: 'artifacts' };
  };
  const asked = new Held();
  asked.asked = async () => {
    over(asked);
    return [{ pid: 7, bytes: 1 }];
  };
  expect(await asked.owner.hold(suspend)).toEqual({ kind: 'none' });
  expect([asked.did, asked.owner.isHeld, asked.freezing.isFrozen]).toEqual([[], false, false]);
  const moved = new Held();
  moved.suspended = () => over(moved);
  expect(await moved.owner.hold({ ...suspend, orEnds: true })).toEqual({ kind: 'none' });
  expect([moved.did, moved.owner.isHeld]).toEqual([['suspend', 'thaw', 'resume 7'], false]);
});

it('what was suspended and could not be frozen is put back before it is only frozen: it would never go on', async () => {
  const run = new Held();
  run.freezeFails = 1;
  expect(await run.owner.hold(suspend)).toMatchObject({ said: expect.stringContaining('not suspended: no freezer') });
  expect(run.did).toEqual(['suspend', 'freeze', 'thaw', 'resume 7', 'freeze']);
});

it('is written down as going on once its memory is back: an agent that ends in between leaves the rest to the next', async () => {
  const run = new Held();
  await run.owner.hold(suspend);
  let during: unknown = null;
  run.resumed = async () => {
    during = run.progress.held;
  };
  await run.owner.goOn();
  expect([during, run.progress.held]).toMatchObject([{ suspended: [7] }, null]);
});

it('goes on at the next try where that could not be written down', async () => {
  const run = new Held();
  await run.owner.hold(freeze);
  run.advanceFails = 1;
  await expect(run.owner.goOn()).rejects.toThrow('disk is full');
  await run.owner.goOn();
  expect([run.owner.isHeld, run.freezing.isFrozen]).toEqual([false, false]);
});

it('one that is frozen is suspended where that is asked for later, and asked for no more than once', async () => {
  const run = new Held();
  await run.owner.hold(freeze);
  expect([run.owner.asksForMore(freeze), run.owner.asksForMore(suspend)]).toEqual([false, true]);
  await run.owner.goOn();
  run.refusal = 'no driver';
  await run.owner.hold(suspend);
  expect([run.owner.asksForMore(suspend), run.owner.asksForMore({ ...suspend, orEnds: true })]).toEqual([false, true]);
  await run.owner.goOn();
  run.refusal = null;
  await run.owner.hold(suspend);
  expect(run.owner.asksForMore({ ...suspend, orEnds: true })).toBe(false);
});

it('one that the driver failed to suspend stays frozen, and is not tried again each second: the driver promises nothing for it', async () => {
  const run = new Held();
  run.suspended = () => {
    throw new Error('operation not supported (UVM)');
  };
  expect(await run.owner.hold(suspend)).toMatchObject({ said: expect.stringContaining('not suspended: operation') });
  expect([run.owner.asksForMore(suspend), run.owner.asksForMore({ ...suspend, orEnds: true })]).toEqual([false, true]);
});

it('taken back while the run has no right to go on (SAFETY J1), it goes on once it has, and its memory is put back then', async () => {
  const run = new Held();
  await run.owner.hold(suspend);
  run.now += 60_000;
  run.freezing.tick();
  await run.owner.goOn();
  expect([run.owner.isHeld, run.freezing.isFrozen, run.did.includes('thaw')]).toEqual([true, true, false]);
  run.leaderAt = run.now;
  run.freezing.tick();
  run.now += 2000;
  run.leaderAt = run.now;
  run.freezing.tick();
  await run.owner.goOn();
  expect([run.owner.isHeld, run.freezing.isFrozen]).toEqual([false, false]);
  expect(run.did).toEqual(['suspend', 'freeze', 'freeze', 'thaw', 'resume 7']);
});
