import { describe, expect, it } from 'vitest';
import { checked } from '../../protocol/codec.ts';
import { Ledger, type LedgerClass } from '../../protocol/ledger.ts';
import { jobTimings } from '../../scheduler/jobs/job-timings.ts';
import { why } from '../../scheduler/snapshot.ts';
import { Lab, wallStart } from './jobs-lab.ts';
import { measured } from './jobs-lab-machines.ts';
import { viewOf } from './snapshot-lab.ts';

const one = () => ({ kang: measured() });

describe('the life of a class runner (SAFETY J7)', () => {
  it('the intent is committed before GitLab is asked, and the token before any grant', () => {
    const lab = new Lab({ machines: one() });
    lab.commitMs = 400;
    const order: string[] = [];
    let seen = 0;
    lab.check = () => {
      for (; seen < lab.log.length; seen += 1) {
        const effect = lab.log[seen]?.effect;
        if (effect?.kind === 'create-runner')
          order.push(
            `create with ${lab.committed.classes[effect.class]?.nonce === effect.nonce ? 'committed' : 'bare'} nonce`,
          );
        if (effect?.kind === 'note' && effect.event === 'grant-sent')
          order.push(`grant when ${lab.committed.classes['cpu-2']?.state}`);
      }
    };
    lab.push(1, ['cpu-2']);
    lab.run(2000);
    expect(order).toEqual(['create with committed nonce', 'grant when ready']);
    expect(lab.committed.classes['cpu-2']).toMatchObject({ runner: 1, token: 't1', tags: ['cpu-2'], given: false });
  });

  it.each(['constructor', 'toString', '__proto__'])(
    'a job that asks for %s alone has a runner and runs as any other, whatever its class is called',
    (tag) => {
      const lab = new Lab({ machines: { kang: measured({ labels: [tag] }) } });
      lab.push(1, [tag]);
      lab.run(20_000);
      expect(lab.effects('create-runner').map(({ tags }) => tags)).toEqual([[tag]]);
      // As it comes back from the disk, or from another machine.
      expect(checked(Ledger, JSON.parse(JSON.stringify(lab.committed))).classes).toEqual(lab.committed.classes);
      expect(Object.values(lab.committed.classes)).toMatchObject([{ tags: [tag], state: 'ready' }]);
      expect(lab.taken).toEqual([{ job: 1, node: 'kang' }]);
      expect(why(viewOf(lab, 'kang'), 1)?.because ?? '').not.toContain('[native code]');
    },
  );

  it('a failed try gets a new nonce after a while, and what came too late is deleted', () => {
    const lab = new Lab({ machines: one(), mute: ['create-runner'] });
    lab.push(1);
    lab.run(2000);
    const [first] = lab.effects('create-runner');
    if (!first) throw new Error('GitLab was not asked');
    lab.feed('kang', { kind: 'runner-failed', class: '', nonce: first.nonce, because: 'GitLab answers 500' });
    lab.run(5000);
    const second = lab.effects('create-runner')[1];
    expect(second?.nonce).not.toBe(first.nonce);
    expect(lab.notes('class-failed')).toEqual(['no runner for untagged jobs: GitLab answers 500']);
    lab.feed('kang', { kind: 'runner-created', class: '', nonce: first.nonce, runner: 77, token: 'late' });
    expect(lab.effects('delete-runner')).toMatchObject([{ runner: 77, nonce: first.nonce }]);
    lab.feed('kang', { kind: 'runner-created', class: '', nonce: second?.nonce ?? '', runner: 78, token: 'good' });
    lab.run(500);
    expect(lab.committed.classes['']).toMatchObject({ state: 'ready', runner: 78, token: 'good' });
  });

  it('a new leader does not trust a try that it did not make', () => {
    const lab = new Lab({ machines: { kang: measured(), b: measured() }, mute: ['create-runner'] });
    lab.push(1);
    lab.run(2000);
    lab.elect('b');
    lab.run(3000);
    const nonces = lab.effects('create-runner').map((effect) => effect.nonce);
    expect(nonces).toHaveLength(2);
    expect(lab.committed.classes['']?.nonce).toBe(nonces[1]);
  });

  it('unused for a day: retiring, committed, then deleted, then gone', () => {
    const lab = new Lab({ machines: one(), scriptMs: 50 });
    lab.push(1);
    lab.run(3000);
    expect(lab.committed.classes['']?.state).toBe('ready');
    lab.at += jobTimings.unusedMs;
    lab.run(5000);
    expect(lab.committed.classes['']?.state).toBe('retiring');
    expect(lab.effects('delete-runner')).toEqual([]);
    lab.run(100_000);
    expect(lab.effects('delete-runner')).toMatchObject([{ runner: 1 }]);
    expect(lab.committed.classes).toEqual({});
    lab.push(2);
    lab.run(5000);
    expect(lab.taken.map((taken) => taken.job)).toEqual([1, 2]);
  });

  it('none is made for tags that no machine could ever satisfy, until one could', () => {
    const lab = new Lab({ machines: one() });
    lab.push(1, ['render']);
    lab.run(10_000);
    expect(lab.effects('create-runner')).toEqual([]);
    const words = measured({ labels: ['render'] });
    lab.feed('kang', { kind: 'measured', measured: words, addresses: [], version: '0.1.0' });
    lab.run(2000);
    expect(lab.taken).toEqual([{ job: 1, node: 'kang' }]);
  });

  it('makes place for a new class when 200 are there', () => {
    const lab = new Lab({
      machines: one(),
      ledger: (ledger) => ({
        ...ledger,
        classes: Object.fromEntries(
          Array.from({ length: 200 }, (_, index) => [
            `old-${index}`,
            {
              tags: [`old-${index}`],
              state: 'ready' as const,
              nonce: `n${index}`,
              runner: index + 1000,
              token: 't',
              lastUsedAt: ledger.nodes.kang ? 1_763_701_000_000 + index : 0,
              given: false,
            },
          ]),
        ),
      }),
    });
    lab.push(1, ['cpu-2']);
    lab.run(100_000);
    expect(lab.effects('delete-runner')).toMatchObject([{ class: 'old-0', runner: 1000 }]);
    expect(lab.taken).toEqual([{ job: 1, node: 'kang' }]);
    expect(Object.keys(lab.committed.classes)).toHaveLength(200);
  });
});

describe('a runner that GitLab no longer knows (server-double S2)', () => {
  const working = (over: Partial<LedgerClass> = {}): Lab =>
    new Lab({
      machines: { kang: measured(), b: measured() },
      mute: ['check-runner', 'take-job', 'create-runner'],
      ledger: (ledger) => ({
        ...ledger,
        gitlab: { ...ledger.gitlab, url: 'http://gitlab.lan' },
        classes: {
          'cpu-2': {
            tags: ['cpu-2'],
            state: 'ready',
            nonce: 'n',
            runner: 9,
            token: 'old',
            lastUsedAt: wallStart + 1e6,
            given: false,
            ...over,
          },
        },
      }),
    });
  const refuses = (lab: Lab, more: { unknownRunner?: boolean; waitMs?: number }): void => {
    const grant = lab.effects('take-job').at(-1)?.grant ?? '';
    const node = lab.log.findLast(({ effect }) => effect.kind === 'take-job')?.node ?? 'kang';
    const outcome = { kind: 'failed' as const, because: 'GitLab answered with HTTP 403', maybeTaken: false, ...more };
    lab.feed(node, { kind: 'take-ended', grant, outcome });
    lab.run(100);
  };
  const asked = (lab: Lab): { class: string; token: string } => {
    const effect = lab.effects('check-runner').at(-1);
    if (!effect) throw new Error('GitLab was not asked about the runner');
    return { class: effect.class, token: effect.token };
  };

  it('one 403 makes the leader ask; a no makes a new nonce and a new runner within a second, and a line meanwhile', () => {
    const lab = working();
    lab.push(1, ['cpu-2']);
    lab.run(2000);
    refuses(lab, { unknownRunner: true });
    lab.feed('kang', { kind: 'runner-checked', ...asked(lab), state: 'unknown', because: '403 Forbidden' });
    lab.run(1000);
    const [create] = lab.effects('create-runner');
    const lost = 'GitLab does not know runner 9 for cpu-2 any more (403 Forbidden)';
    expect(lab.committed.classes['cpu-2']).toMatchObject({
      state: 'creating',
      nonce: create?.nonce,
      token: null,
      lost,
    });
    lab.feed('kang', { kind: 'runner-created', class: 'cpu-2', nonce: create?.nonce ?? '', runner: 10, token: 'new' });
    lab.run(1500);
    expect(lab.committed.classes['cpu-2']).toMatchObject({ state: 'ready', runner: 10, token: 'new' });
    expect(lab.committed.classes['cpu-2']?.lost).toBeUndefined();
    expect(lab.effects('take-job').at(-1)?.token).toBe('new');
  });

  it('a yes, a proxy that says no, and an answer about an older token change nothing', () => {
    const lab = working();
    lab.push(1, ['cpu-2']);
    lab.run(2000);
    refuses(lab, { unknownRunner: true });
    const about = asked(lab);
    lab.feed('kang', { kind: 'runner-checked', ...about, state: 'unclear', because: 'a web page' });
    lab.feed('kang', { kind: 'runner-checked', ...about, token: 'older', state: 'unknown', because: '403' });
    lab.run(31_000);
    expect(lab.effects('check-runner').length).toBeGreaterThan(1);
    lab.feed('kang', { kind: 'runner-checked', ...about, state: 'known', because: 'GitLab knows the runner' });
    lab.run(100);
    expect(lab.effects('create-runner')).toEqual([]);
    expect(lab.committed.classes['cpu-2']).toMatchObject({ state: 'ready', token: 'old' });
  });

  it('a token that the user gave is not replaced, but said; and no more when GitLab knows it again', () => {
    const lab = working({ given: true, runner: null });
    lab.push(1, ['cpu-2']);
    lab.run(2000);
    refuses(lab, { unknownRunner: true });
    const about = asked(lab);
    lab.feed('kang', { kind: 'runner-checked', ...about, state: 'unknown', because: '403' });
    lab.run(100);
    expect(lab.committed.classes['cpu-2']).toMatchObject({ state: 'ready', token: 'old' });
    expect(lab.committed.classes['cpu-2']?.lost).toContain('the runner token for cpu-2');
    lab.feed('kang', { kind: 'runner-checked', ...about, state: 'known', because: 'GitLab knows the runner' });
    lab.run(100);
    expect(lab.committed.classes['cpu-2']?.lost).toBeUndefined();
    expect(lab.effects('create-runner')).toEqual([]);
  });

  it.each([
    ['a new connect', { token: 'sealed anew' }],
    ['a GitLab that goes on from a copy (SAFETY J8)', { epoch: 7 }],
  ])('%s has every class asked about that it keeps', (_what, is) => {
    const lab = working();
    lab.run(2000);
    expect(lab.effects('check-runner')).toEqual([]);
    lab.accepted = { ...lab.accepted, gitlab: { ...lab.accepted.gitlab, ...is } };
    lab.committed = lab.accepted;
    lab.run(1000);
    expect(lab.effects('check-runner')).toEqual([{ kind: 'check-runner', class: 'cpu-2', token: 'old' }]);
  });

  it('a GitLab that asks to wait is left alone for so long (server-double A1)', () => {
    const lab = working();
    lab.push(1, ['cpu-2']);
    lab.run(2000);
    expect(lab.effects('take-job')).toHaveLength(1);
    refuses(lab, { waitMs: 20_000 });
    lab.run(19_000);
    expect(lab.effects('take-job')).toHaveLength(1);
    lab.run(2_000);
    expect(lab.effects('take-job')).toHaveLength(2);
  });
});

describe('a restored GitLab gives the same id again (server-double A3)', () => {
  it('is not waited for: a read that was asked after the run ended is believed', () => {
    const lab = new Lab({ machines: one(), scriptMs: 100 });
    lab.push(7);
    lab.run(3000);
    expect(lab.taken).toHaveLength(1);
    lab.push(7);
    lab.run(6000);
    expect(lab.taken).toHaveLength(2);
  });
});
