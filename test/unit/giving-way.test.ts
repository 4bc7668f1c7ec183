import { afterEach, describe, expect, it } from 'vitest';
import { GivingWay } from '../../node/agent/giving-way.ts';
import { OwedRetries } from '../../node/agent/owed-retries.ts';
import { ownerWants, type PauseState } from '../../node/agent/owner-wishes.ts';
import { PauseSwitch } from '../../node/agent/pause.ts';
import { driverMajor, parseUses } from '../../node/machine/cuda-checkpoint.ts';
import type { HoldOutcome, HoldWish } from '../../node/runs/owner-hold.ts';
import { type GiveWay, readGiveWay, type Way, wayOf } from '../../node/settings/give-way.ts';
import type { Run } from '../../protocol/ledger.ts';
import type { Measured } from '../../protocol/report.ts';
import { measured, labRun as runOf } from './jobs-lab-machines.ts';

const labRun = (over: Partial<Run> & { run: string }): Run => runOf({ node: 'kang', ...over });
const card = { uuid: 'GPU-1', vendor: 'nvidia' as const, model: 'RTX 3090 Ti', memoryBytes: 24 * 2 ** 30 };
const load = { uuid: 'GPU-1', usedBytes: 0, busyPercent: 0, foreign: false };
const idle = (more: Partial<Measured> = {}): Measured => ({
  ...measured({}),
  owner: 'away',
  capacity: { ...measured({}).capacity, gpus: [card] },
  gpus: [load],
  ...more,
});

/** Runs that do at once what they are told, as far as a test lets them. */
class FakeRuns {
  list: Run[];
  held = new Set<string>();
  did: string[] = [];
  retried: number[] = [];
  warned: string[] = [];
  refusal: Error | null = null;
  outcome: HoldOutcome | null = null;
  /** What keeps whoever holds a run from being done: a card's memory that moves. */
  moves: Promise<unknown> = Promise.resolve();
  /** The run that has nothing to move. */
  quick = '';
  pause: PauseState = { paused: 'no', because: null, now: null };
  measured: Measured = idle();
  disk = new Map<string, string>();
  giving!: GivingWay;
  rules: string[];
  constructor(rules: string[], ...list: Run[]) {
    this.list = list;
    this.rules = rules;
    this.agent();
  }
  /** An agent process; the one before has ended, with nothing in memory. */
  agent(): void {
    last?.stop();
    const store = {
      get: async (key: string) => this.disk.get(key) ?? null,
      put: async (key: string, value: string) => void this.disk.set(key, value),
    };
    this.giving = new GivingWay({
      rules: readGiveWay(this.rules),
      owed: new OwedRetries(store, (sentence) => void this.warned.push(sentence)),
      pause: () => this.pause,
      measured: () => this.measured,
      runs: () => this.list,
      holdOf: (run) => this.#holdOf(run),
      end: (run) => void this.did.push(`end ${run}`),
      retry: async (job) => {
        this.retried.push(job);
        if (this.refusal) throw this.refusal;
      },
      warn: (sentence) => void this.warned.push(sentence),
      info: () => {},
    });
    last = this.giving;
  }
  #holdOf(run: string) {
    const { held, did } = this;
    return {
      get isHeld() {
        return held.has(run);
      },
      asksForMore: (wish: HoldWish) => wish.how === 'suspend' && did.at(-1) === `freeze ${run}`,
      hold: async (wish: HoldWish): Promise<HoldOutcome> => {
        did.push(`${wish.how} ${run}`);
        if (run !== this.quick) await this.moves;
        const outcome = this.outcome ?? { kind: 'held' as const, said: `stands still, ${wish.because}` };
        if (outcome.kind === 'held') held.add(run);
        return outcome;
      },
      goOn: async () => {
        did.push(`goes on ${run}`);
        held.delete(run);
      },
    };
  }
  change(run: string, over: Partial<Run>): void {
    this.list = this.list.map((one) => (one.run === run ? { ...one, ...over } : one));
  }
  now(what: 'gpu' | 'all', way: Way | null = null): this {
    this.pause = { paused: what, because: 'paused by its owner', now: { what, way } };
    return this;
  }
}
let last: GivingWay | null = null;
afterEach(() => last?.stop());
const result = (because: string, state: 'failed' | 'success' = 'failed') => ({
  state,
  exitCode: null,
  reason: null,
  because,
});
const failed = result(ownerWants('gpu'));
const onGpu = (run: string, job: number, tags: string[] = []): Run =>
  labRun({ run, job, tags, state: 'running', gpus: ['GPU-1'] });
const soon = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 450));

describe('pause --now', () => {
  it('of the GPU ends what is on one and nothing else, and runs it again once GitLab knows that it failed', async () => {
    const fake = new FakeRuns([], onGpu('a', 1), labRun({ run: 'b', job: 2, state: 'running', gpus: [] })).now('gpu');
    expect(await fake.giving.look()).toEqual(['job 1 ends now, and runs again elsewhere']);
    fake.change('a', { state: 'finished', result: failed });
    await soon();
    expect(fake.retried).toEqual([]);
    fake.change('a', { state: 'delivered' });
    await soon();
    expect(fake.retried).toEqual([1]);
    await fake.giving.look();
    expect(fake.did).toEqual(['end a']);
  });

  it('of all ends all; one that begins a moment later too, since GitLab had given it away before', async () => {
    const fake = new FakeRuns([], labRun({ run: 'b', job: 2, state: 'running', gpus: [] })).now('all');
    await fake.giving.look();
    fake.list = [...fake.list, labRun({ run: 'c', job: 3, state: 'taken' })];
    await fake.giving.look();
    expect(fake.did).toEqual(['end b', 'end c']);
    fake.pause = { paused: 'no', because: null, now: null };
    fake.list = [...fake.list, labRun({ run: 'd', job: 4, state: 'running' })];
    await fake.giving.look();
    expect(fake.did).toEqual(['end b', 'end c']);
  });

  it('suspends what is frozen only, where that is said now: it goes on for that, as what stands still cannot be', async () => {
    const fake = new FakeRuns(['freeze'], onGpu('a', 1)).now('gpu');
    await fake.giving.look();
    fake.now('gpu', 'suspend');
    await fake.giving.look();
    await fake.giving.look();
    expect(fake.did).toEqual(['freeze a', 'goes on a', 'suspend a']);
  });

  it('is answered while memory still moves, and so is a resume that comes then; it goes on once it has moved', async () => {
    const fake = new FakeRuns(['suspend'], onGpu('a', 1)).now('gpu');
    let moved = (): void => undefined;
    fake.moves = new Promise<void>((resolve) => {
      moved = resolve;
    });
    const [late] = await fake.giving.lookSoon('what runs makes way', 20);
    expect(late).toBe('what runs makes way; how far it is: autogit-node status');
    fake.pause = { paused: 'no', because: null, now: null };
    expect(await fake.giving.lookSoon('what stood still goes on', 20)).toHaveLength(1);
    moved();
    expect(await fake.giving.lookSoon('what stood still goes on')).toEqual([]);
    expect(fake.did).toEqual(['suspend a', 'goes on a']);
  });

  it('of a run whose memory moves for long holds up no other: one that comes then makes way, and goes on, meanwhile', async () => {
    const fake = new FakeRuns(['suspend'], onGpu('a', 1)).now('gpu');
    let moved = (): void => undefined;
    fake.moves = new Promise<void>((resolve) => {
      moved = resolve;
    });
    const slow = fake.giving.look();
    fake.quick = 'b';
    fake.list = [...fake.list, onGpu('b', 2)];
    void fake.giving.look();
    await soon();
    expect(fake.did).toEqual(['suspend a', 'suspend b']);
    fake.pause = { paused: 'no', because: null, now: null };
    const after = fake.giving.look();
    await soon();
    expect(fake.did).toEqual(['suspend a', 'suspend b', 'goes on b']);
    moved();
    expect(await slow).toHaveLength(1);
    await after;
    expect(fake.did.slice(3)).toEqual(['goes on a']);
  });

  it.each([
    ['GitLab has its end by then', 'delivered', [1]],
    ['it still ends, and the owner has what it wanted', 'running', [1]],
    ['it ended by itself', 'success', []],
    ['its record is gone', 'gone', []],
  ] as const)('runs again over a restart of the agent, once: %s', async (_, how, retried) => {
    const fake = new FakeRuns([], onGpu('a', 1)).now('gpu');
    await fake.giving.look();
    const wants = fake.pause;
    fake.pause = { paused: 'no', because: null, now: null };
    if (how === 'gone') fake.list = [];
    if (how === 'delivered') fake.change('a', { state: 'delivered', result: failed });
    if (how === 'success') fake.change('a', { state: 'delivered', result: result('the script passed', 'success') });
    fake.agent();
    await fake.giving.start();
    if (how === 'running') {
      fake.pause = wants;
      await fake.giving.look();
      expect(fake.did).toEqual(['end a', 'end a']);
      fake.change('a', { state: 'delivered', result: failed });
    }
    await soon();
    fake.agent();
    await fake.giving.start();
    await soon();
    expect([fake.retried, fake.warned]).toEqual([retried, []]);
    expect(fake.disk.get('owed-retries')).toBe('[]');
  });

  it('of the GPU, said beside one of all, is done too: who typed it was told that those jobs end', async () => {
    const store = { get: async () => null, put: async () => undefined };
    const pause = new PauseSwitch(store as never, () => 0);
    const cpu = labRun({ run: 'b', job: 2, state: 'running', gpus: [] });
    const fake = new FakeRuns([], onGpu('a', 1), cpu);
    await pause.pause('all', null, 'freeze');
    fake.pause = pause.state();
    await fake.giving.look();
    expect(fake.did).toEqual(['freeze a', 'freeze b']);
    await pause.pause('gpu', null, 'end');
    fake.pause = pause.state();
    expect(fake.pause.paused).toBe('all');
    await fake.giving.look();
    expect(fake.did).toEqual(['freeze a', 'freeze b', 'end a']);
    fake.list = [...fake.list, labRun({ run: 'c', job: 3, state: 'running', gpus: [] })];
    await fake.giving.look();
    expect(fake.did.slice(3)).toEqual(['freeze c']);
  });

  it('does as the machine’s owner has set it for the job’s tags, or as it was said', async () => {
    const rules = ['freeze', 'train=suspend', 'deploy=finish'];
    const runs = [onGpu('a', 1), onGpu('t', 2, ['gpu', 'train']), onGpu('d', 3, ['deploy'])];
    const fake = new FakeRuns(rules, ...runs).now('gpu');
    expect(fake.giving.plan('gpu', null)).toEqual([
      { job: 1, way: 'freeze' },
      { job: 2, way: 'suspend' },
      { job: 3, way: 'finish' },
    ]);
    await fake.giving.look();
    expect(fake.did).toEqual(['freeze a', 'suspend t']);
    fake.now('gpu', 'end');
    await fake.giving.look();
    expect(fake.did.slice(2)).toEqual(['end a', 'end t', 'end d']);
  });

  it.each([
    [
      'its script had passed just before',
      { state: 'delivered' as const, result: result('the script passed', 'success') },
    ],
    ['a person canceled it', { state: 'delivered' as const, result: result('canceled at GitLab') }],
    ['GitLab disowned it', { state: 'discarded' as const, result: failed }],
    ['the mesh gave it up', { state: 'lost' as const, result: null }],
  ])('runs nothing again when %s', async (_, end) => {
    const fake = new FakeRuns([], onGpu('a', 1)).now('gpu');
    await fake.giving.look();
    fake.change('a', end);
    await soon();
    expect([fake.retried, fake.warned]).toEqual([[], []]);
  });

  it("says when it cannot be run again, but not when the job's own retry was sooner", async () => {
    for (const [sentence, warned] of [
      ['job 1 (train) was tried again already', 0],
      ['no GitLab with an admin token is connected to this mesh', 1],
    ] as const) {
      const fake = new FakeRuns([], onGpu('a', 1)).now('gpu');
      fake.refusal = new Error(sentence);
      await fake.giving.look();
      fake.change('a', { state: 'delivered', result: failed });
      await soon();
      expect(fake.warned).toHaveLength(warned);
      expect(fake.retried).toEqual([1]);
      fake.giving.stop();
    }
  });

  it('is kept over a restart, and a pause that is made longer goes on as it was', async () => {
    let kept: string | null = null;
    const store = {
      get: async () => kept,
      put: async (_: string, value: string) => {
        kept = value;
      },
    };
    const first = new PauseSwitch(store as never, () => 1000);
    await first.pause('gpu', 60_000, 'freeze');
    await first.pause('gpu', 120_000);
    const next = new PauseSwitch(store as never, () => 100_000);
    await next.load();
    expect(next.state()).toMatchObject({ paused: 'gpu', now: { what: 'gpu', way: 'freeze' } });
    await next.pause('all', null, true);
    expect(next.state().now).toEqual({ what: 'all', way: null });
    await next.resume('all');
    expect(next.state().now).toBeNull();
  });
});

describe('a game on the GPU, or a program of the owner’s', () => {
  const playing = idle({ owner: 'playing' });
  it('lets jobs run to their end where the owner did not say otherwise', async () => {
    const fake = new FakeRuns([], onGpu('a', 1));
    fake.measured = playing;
    await fake.giving.look();
    expect(fake.did).toEqual([]);
  });

  it('has them make way as the owner has set it, and lets them go on when it is over', async () => {
    const fake = new FakeRuns(['suspend'], onGpu('a', 1), labRun({ run: 'b', job: 2, gpus: [] }));
    fake.measured = playing;
    expect(await fake.giving.look()).toEqual(['job 1 stands still, its owner plays']);
    await fake.giving.look();
    expect(fake.did).toEqual(['suspend a']);
    fake.measured = idle();
    await fake.giving.look();
    expect(fake.did).toEqual(['suspend a', 'goes on a']);
  });

  it('of one GPU is in the way of that GPU’s job alone; a card that fails is nobody’s program', async () => {
    const other = labRun({ run: 'o', job: 5, state: 'running', gpus: ['GPU-2'] });
    const fake = new FakeRuns(['freeze'], onGpu('a', 1), other);
    fake.measured = idle({
      gpus: [
        { ...load, foreign: true, usedBy: 'ollama' },
        { ...load, uuid: 'GPU-2', foreign: true, problem: 'lost' },
      ],
    });
    expect(await fake.giving.look()).toEqual(['job 1 stands still, ollama of its owner uses its GPU']);
    expect(fake.did).toEqual(['freeze a']);
  });

  it('ends what cannot be suspended where the owner wants that, and says why', async () => {
    const fake = new FakeRuns(['suspend/end'], onGpu('a', 1));
    fake.measured = playing;
    fake.outcome = { kind: 'refused', said: 'no room in main memory' };
    await fake.giving.look();
    expect(fake.did).toEqual(['suspend a', 'end a']);
  });

  it('leaves alone what is ending, or over', async () => {
    const fake = new FakeRuns(['end'], labRun({ run: 'a', job: 1, state: 'finished', gpus: ['GPU-1'] }));
    fake.measured = playing;
    await fake.giving.look();
    expect(fake.did).toEqual([]);
  });
});

describe('--give-way', () => {
  it('has one word for all jobs and one a tag; the first tag that is found counts', () => {
    const rules: GiveWay = readGiveWay(['a=end', 'freeze', 'b=finish']);
    expect(wayOf(rules, ['b', 'a'], 'finish')).toBe('end');
    expect(wayOf(rules, ['b'], 'end')).toBe('finish');
    expect(wayOf(rules, [], 'end')).toBe('freeze');
    expect(wayOf(readGiveWay([]), ['x'], 'end')).toBe('end');
  });
  it.each([
    [['stop'], /"stop" is none of finish, freeze/],
    [['freeze', 'end'], /leave one out/],
    [['a=end', 'a=freeze'], /stands there twice/],
    [['=end'], /is no tag/],
    [Array.from({ length: 33 }, (_, n) => `t${n}=end`), /at most 32/],
  ])('refuses %j', (list, sentence) => expect(() => readGiveWay(list)).toThrow(sentence));
});

describe('what NVIDIA’s driver says', () => {
  it('of its version', () => {
    const closed =
      'NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\nGCC version: 12';
    const open = 'NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (dvs)';
    expect([closed, open, '', 'something'].map(driverMajor)).toEqual([550, 570, null, null]);
  });
  it('of who has GPU memory: one process on two cards is one', () => {
    const text = '12, 1024\n13, [N/A]\n12, 512\nNo running processes found\n';
    expect(parseUses(text)).toEqual([
      { pid: 12, bytes: 1536 * 2 ** 20 },
      { pid: 13, bytes: null },
    ]);
  });
});
