import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../node/clock.ts';
import type { DataPlace } from '../../node/hosting/data-place.ts';
import { GitlabKeeper } from '../../node/hosting/gitlab-keeper.ts';
import type { BehindGate } from '../../node/hosting/lease-at-gate.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { GitlabSeen } from '../../protocol/report.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';
import { PlayedEngine } from './played-engine.ts';

const clock = systemClock();

let home: string;
let engine: PlayedEngine;
let behind: (BehindGate & { until: number }) | null;
let seen: (GitlabSeen | null)[];
let order: string[];
let ledger: { mesh: object; gitlab: Record<string, unknown> };
let [isOtherFolder, isHeard] = [false, true];
let mayMake: boolean[] = [];
let keepers: GitlabKeeper[];
let closing: Promise<void>;
let copiesEnded: (() => void) | null = null;

const place: DataPlace = {
  kind: 'folder',
  path: '/srv/gitlab',
  folders: { config: '/c', data: '/d', bulk: '/b', logs: '/l' },
  notices: [],
  freeBytes: () => 2 ** 40,
  check: async () => undefined,
  makeRoom: async () => undefined,
  checkInside: () => {
    if (isOtherFolder) throw new AutogitError('data-place', 'the container sees another folder');
  },
  tend: async () => [],
  letGo: async () => undefined,
  close: async () => void order.push('place closed'),
};

function begin(self = 'kang'): GitlabKeeper {
  const keeper = new GitlabKeeper({
    self,
    home,
    clock,
    log: { info: () => undefined, warn: () => undefined },
    host: engine,
    ledger: () => ledger as unknown as Ledger,
    openPlace: async (hosting, may) => {
      mayMake.push(may);
      return { ...place, path: hosting.place.path };
    },
    removePlace: async () => void order.push('place removed'),
    copies: {
      opened: () => undefined,
      ends: async () => void copiesEnded?.(),
    },
    gateFor: () => ({
      renew: async (lease) => {
        behind = lease;
      },
      close: async (epoch) => {
        await closing;
        behind = null;
        order.push(`gate of ${epoch} closed`);
      },
      end: async () => void order.push('gate ended'),
      problems: () => [],
    }),
    change: async (change) => {
      if (!isHeard) return { state: 'unknown', because: 'no leader' };
      if (change.kind === 'gitlab-restored')
        ledger.gitlab = { ...ledger.gitlab, url: null, token: null, epoch: change.epoch + 1 };
      if (change.kind === 'gitlab-stands') ledger.gitlab = { ...ledger.gitlab, url: change.url, token: change.token };
      return { state: 'done', because: '' };
    },
    seal: (text) => text,
    unseal: (text) => text,
    sealForVoters: (text) => text,
    meshToken: () => (ledger.gitlab.token as string | undefined) ?? null,
    report: (one) => void seen.push(one),
    onGateClosed: (epoch) => void order.push(`said closed ${epoch}`),
  });
  keepers.push(keeper);
  keeper.start();
  return keeper;
}

/** Looks again and again, with or without a lease, until it is so. */
async function until(keeper: GitlabKeeper, holds: () => boolean, hasLease = true): Promise<void> {
  await expect
    .poll(
      () => {
        if (hasLease) keeper.holdLease(ledger.gitlab.epoch as number, clock.bootMs() + 4000);
        keeper.ledgerChanged();
        return holds();
      },
      { timeout: 10_000, interval: 20 },
    )
    .toBe(true);
}

const state = (): string | undefined => seen.at(-1)?.state;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'autogit-keeper-'));
  engine = new PlayedEngine();
  [behind, seen, order, keepers, isOtherFolder, closing] = [null, [], [], [], false, Promise.resolve()];
  [isHeard, mayMake] = [true, []];
  const gitlab = {
    mode: 'hosted',
    url: null,
    host: 'kang',
    epoch: 3,
    hosted: hostedGitlab({ data: 'data-three', preset: 'minimal' }),
  };
  ledger = { mesh: { id: 'mesh', name: 'home' }, gitlab };
});

afterEach(async () => {
  engine.isAway = false;
  for (const keeper of keepers) await keeper.stop();
  rmSync(home, { recursive: true, force: true });
});

describe('the keeper of a hosted GitLab', () => {
  it('an engine that is away is no fault of GitLab: the gate goes on as it was, and nothing is started', async () => {
    const keeper = begin();
    await until(keeper, () => state() === 'healthy');
    engine.isAway = true;
    await until(keeper, () => state() === 'degraded');
    expect(seen.at(-1)?.because).toMatch(/no Docker Engine answers/);
    expect(behind).toMatchObject({ isServing: true, upstream: '172.30.0.2' });
    engine.isAway = false;
    await until(keeper, () => state() === 'healthy');
    expect(engine.calls.filter((call) => call === 'start')).toHaveLength(1);
  });

  it('a lease that ends during the pull starts nothing, and is no failed try', async () => {
    let pulled = (): void => undefined;
    engine.pulling = new Promise((done) => {
      pulled = done;
    });
    const keeper = begin();
    await until(keeper, () => engine.calls.includes('image'));
    keeper.endLease(3, 'another epoch');
    pulled();
    await until(keeper, () => order.includes('said closed 3'), false);
    await until(keeper, () => engine.calls.filter((call) => call === 'find').length > 3, false);
    expect(engine.calls).not.toContain('start');
    expect(seen.at(-1)?.because).not.toMatch(/tried again/);
  });

  it('a container that sees other folders is killed before anybody reaches it', async () => {
    isOtherFolder = true;
    const keeper = begin();
    await until(keeper, () => engine.calls.includes('kill c1'));
    await until(keeper, () => /another folder/.test(seen.at(-1)?.because ?? ''));
    expect(behind?.isServing).toBe(false);
  });

  it('a container that was begun by nobody of ours is looked into too: one with other folders is killed, and nothing passes', async () => {
    isOtherFolder = true;
    engine.running.set('c1', { mesh: 'mesh', host: 'kang', data: 'data-three', epoch: 3, id: 'c1', isRunning: true });
    const keeper = begin();
    let hasServed = false;
    await until(keeper, () => {
      hasServed ||= behind?.isServing === true;
      return engine.calls.includes('kill c1');
    });
    expect(hasServed).toBe(false);
    isOtherFolder = false;
    keeper.lookNow();
    await until(keeper, () => state() === 'healthy');
    expect(behind?.isServing).toBe(true);
  });

  it('a GitLab that has worked is not made anew where its place is gone, also before the mesh has heard of it', async () => {
    isHeard = false;
    const first = begin();
    await until(first, () => mayMake.includes(true) && behind?.isServing === true);
    await first.stop();
    engine.running.clear();
    mayMake = [];
    const second = begin();
    await until(second, () => mayMake.length > 0);
    expect(mayMake).not.toContain(true);
  });

  it.each([
    ['cut off', (text: string) => text.slice(0, 40)],
    ['emptied', () => ''],
    ['of a later version', (text: string) => text.replace(/"bootMs":\d+/, '"bootMs":{"first":1}')],
  ])(
    'what it knows of it is %s: the copy is taken; without one GitLab is not made anew over a place that is gone',
    async (_how, spoil) => {
      isHeard = false;
      const first = begin();
      await until(first, () => mayMake.includes(true) && behind?.isServing === true);
      await first.stop();
      const file = join(home, 'hosted-gitlab.json');
      const whole = readFileSync(file, 'utf8');
      for (const files of [[file], [file, `${file}.copy`]]) {
        for (const one of files) writeFileSync(one, spoil(whole));
        engine.running.clear();
        mayMake = [];
        const next = begin();
        await until(next, () => mayMake.length > 0 && engine.running.size > 0);
        expect(mayMake).not.toContain(true);
        if (files.length === 1) expect(next.rootPassword()).toBe('first-of-root');
        await next.stop();
        copyFileSync(file, `${file}.copy`);
      }
    },
  );

  it('removed from its mesh it ends what it ran, also under a ledger that does not say so, and keeps nothing but the data', async () => {
    const keeper = begin();
    await until(keeper, () => state() === 'healthy');
    await keeper.removed();
    expect(order).toEqual(['gate of 3 closed', 'said closed 3', 'gate ended', 'place closed']);
    expect([engine.running.size, readdirSync(home), behind, seen.at(-1)]).toEqual([0, [], null, null]);
  });

  it('what an agent could not end when it was removed is ended by the next one, in whatever mesh that is', async () => {
    const first = begin();
    await until(first, () => state() === 'healthy');
    engine.isAway = true;
    void first.removed();
    await first.stop();
    engine.isAway = false;
    ledger = { mesh: { id: 'other', name: 'other' }, gitlab: { mode: 'none', url: null, host: null, epoch: 0 } };
    const second = begin();
    await until(second, () => engine.running.size === 0 && order.includes('place closed'), false);
    expect(order.slice(-2)).toEqual(['gate ended', 'place closed']);
  });

  it('data that it had are taken up in a later epoch: that they have worked here before does not keep their marker old', async () => {
    const first = begin();
    await until(first, () => state() === 'healthy');
    await first.stop();
    engine.running.clear();
    mayMake = [];
    ledger.gitlab = { ...ledger.gitlab, url: null, epoch: 4 };
    const second = begin();
    await until(second, () => engine.running.get('c1')?.epoch === 4);
    // A place is looked at, and let go, before it is made; what starts GitLab is the last.
    expect(mayMake.at(-1)).toBe(true);
  });

  it('an agent that starts over a ledger that has moved on closes the gate of before, ends the container, and only then says so', async () => {
    const first = begin();
    await until(first, () => state() === 'healthy');
    await first.stop();
    ledger.gitlab = { mode: 'none', url: null, host: null, epoch: 3 };
    let closed = (): void => undefined;
    closing = new Promise((done) => {
      closed = done;
    });
    const second = begin();
    second.endLease(3, 'it was uninstalled');
    await new Promise((done) => setTimeout(done, 200));
    expect([engine.running.size, order]).toEqual([1, []]);
    closed();
    await until(second, () => engine.running.size === 0 && order.includes('place closed'), false);
    expect(order.indexOf('gate of 3 closed')).toBeLessThan(order.indexOf('said closed 3'));
    expect(order.slice(-2)).toEqual(['gate ended', 'place closed']);
  });

  it('a container that ends says why in its own last words, without what moves a cursor or is a secret', async () => {
    engine.endsWith = 1;
    engine.lastLines = 'Preparing\n\u001b[31mcannot use glpat-0123456789abcdefghij: upgrade to 18.11 first\n';
    const keeper = begin();
    await until(keeper, () => /container ended/.test(seen.at(-1)?.because ?? ''));
    expect(seen.at(-1)?.because).toMatch(
      /^its container ended: exit code 1, " \[31mcannot use glpat-\[redacted\]: upgrade to 18.11 first"/,
    );
  });

  it("root's password is told again to whoever did not get it, and forgotten when what was seen is said", async () => {
    const keeper = begin();
    await until(keeper, () => state() === 'healthy');
    expect([keeper.rootPassword(), keeper.rootPassword(), keeper.rootPassword('of another GitLab')]).toEqual(
      Array(3).fill('first-of-root'),
    );
    expect([keeper.rootPassword('first-of-root'), keeper.rootPassword()]).toEqual([null, null]);
  });

  it('a token that somebody revoked is made anew, once GitLab has refused it twice; older ones are revoked then', async () => {
    const keeper = begin();
    await until(keeper, () => state() === 'healthy');
    const first = ledger.gitlab.token as string;
    expect(first).toMatch(/^glpat-\w{20}$/);
    const said = (word: string): number => engine.inputs.filter((input) => input.includes(word)).length;
    const made = (): number => said('set_token');
    const looked = async (): Promise<void> => {
      const before = engine.inputs.length;
      keeper.lookNow();
      await until(keeper, () => engine.inputs.slice(before).some((input) => input.includes('/api/v4/user')));
    };
    await looked();
    expect(made()).toBe(1);
    engine.revoked = first;
    await looked();
    expect(ledger.gitlab.token).toBe(first);
    await looked();
    // Data of a later epoch may bring older ones along, so those ended the first time too.
    await until(keeper, () => made() === 2 && said('.to_a[0...-1].each(&:revoke!)') === 2);
    expect(ledger.gitlab.token).not.toBe(first);
  });

  it('ends what the ledger does not know any more, and leaves what it does not know yet', async () => {
    const other = { mesh: 'mesh', host: 'kang', isRunning: true };
    engine.running.set('old', { ...other, data: 'data-two-', epoch: 2, id: 'old' });
    engine.running.set('same', { ...other, data: 'data-else', epoch: 3, id: 'same' });
    engine.running.set('new', { ...other, data: 'data-four', epoch: 4, id: 'new' });
    const keeper = begin();
    await until(keeper, () => state() === 'healthy');
    expect([...engine.running.keys()].sort()).toEqual(['c1', 'new']);
  });

  it('a machine that never hosted asks no engine', async () => {
    const keeper = begin('spock');
    keeper.endLease(3, 'the host is another');
    await until(keeper, () => order.includes('said closed 3'), false);
    expect(engine.calls).toEqual([]);
  });
});

describe('a restore', () => {
  const when = { version: '19.3.0', image: 'i', at: 1 };
  const about = { form: 1 as const, mesh: 'mesh', meshName: 'home', data: 'data-three', epoch: 3, ...when };
  let tree: string;
  const data = (): string => readFileSync(join(tree, 'live/data/what'), 'utf8');
  async function ready(): Promise<GitlabKeeper> {
    tree = join(home, 'place');
    for (const [folder, what] of [
      [tree, 'now'],
      [join(tree, 'restoring'), 'then'],
    ] as const) {
      for (const one of ['live/data', 'bulk']) mkdirSync(join(folder, one), { recursive: true });
      writeFileSync(join(folder, 'live/data/what'), what);
    }
    const hosted = { data: 'data-three', preset: 'minimal' as const, place: { kind: 'folder' as const, path: tree } };
    ledger.gitlab.hosted = hostedGitlab(hosted);
    const keeper = begin();
    await until(keeper, () => state() === 'healthy' && ledger.gitlab.url !== null);
    return keeper;
  }
  const wish = () => ({ backup: 'abcdef01', source: join(tree, 'restoring'), because: 'as of then', about });

  it('closes the gate, swaps, and begins the next epoch; done when GitLab stands again', async () => {
    const keeper = await ready();
    const atEnd: string[] = [];
    copiesEnded = () => void atEnd.push(data());
    keeper.replacing.ask(wish());
    await until(keeper, () => keeper.replacing.outcome !== null);
    expect(keeper.replacing.outcome).toEqual({ backup: 'abcdef01', isDone: true, because: 'as of then' });
    copiesEnded = null;
    await until(keeper, () => engine.inputs.filter((input) => input.includes('revoke!')).length === 2);
    expect(atEnd[0]).toBe('now');
    expect([ledger.gitlab.epoch, data(), order.slice(0, 2)]).toEqual([
      4,
      'then',
      ['gate of 3 closed', 'said closed 3'],
    ]);
    expect(readFileSync(join(tree, 'replaced-3/live/data/what'), 'utf8')).toBe('now');
  });

  it('that GitLab cannot begin with comes back by itself, as one more epoch', async () => {
    const keeper = await ready();
    engine.endsWith = 1;
    keeper.replacing.ask(wish());
    await until(keeper, () => ledger.gitlab.epoch === 5);
    engine.endsWith = null;
    await until(keeper, () => keeper.replacing.outcome !== null);
    expect(keeper.replacing.outcome?.isDone).toBe(false);
    expect(keeper.replacing.outcome?.because).toContain(
      'did not come up with abcdef01 (its container ended: exit code 1',
    );
    expect([data(), readFileSync(join(tree, 'replaced-4/live/data/what'), 'utf8')]).toEqual(['now', 'then']);
  });

  it('that the mesh does not hear of is told until it does, by the next agent too', async () => {
    const keeper = await ready();
    isHeard = false;
    keeper.replacing.ask(wish());
    await until(keeper, () => data() === 'then');
    await keeper.stop();
    expect(ledger.gitlab.epoch).toBe(3);
    isHeard = true;
    const next = begin();
    await until(next, () => ledger.gitlab.url !== null && ledger.gitlab.epoch === 4 && state() === 'healthy');
    expect([data(), next.replacing.outcome?.isDone]).toEqual(['then', true]);
  });
});
