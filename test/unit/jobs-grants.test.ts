import { describe, expect, it } from 'vitest';
import { classKey } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { MessageOf } from '../../protocol/messages.ts';
import { Lab } from './jobs-lab.ts';
import { gpu3090, labRun, measured } from './jobs-lab-machines.ts';

const two = () => ({ kang: measured({ cores: 2 }), 'desktop-1': measured({ cores: 2, gpus_: [gpu3090] }) });

/** Classes that exist already, so that tests begin with grants. */
const withClasses =
  (...sets: string[][]) =>
  (ledger: Ledger): Ledger => ({
    ...ledger,
    classes: Object.fromEntries(
      sets.map((tags, index) => [
        classKey(tags),
        {
          tags,
          state: 'ready' as const,
          nonce: `n${index}`,
          runner: index + 1,
          token: `t${index}`,
          lastUsedAt: 1_763_700_000_000,
          given: false,
        },
      ]),
    ),
  });

const grantTo = (over: Partial<MessageOf<'grant'>> = {}): MessageOf<'grant'> => ({
  kind: 'grant',
  grant: 'g1',
  term: 1,
  class: '',
  tags: [],
  runner: 1,
  token: 't',
  ttlMs: 10_000,
  gpus: [],
  because: 'test',
  ...over,
});

const answers = (lab: Lab, from: string): string[] =>
  lab.log
    .filter((entry) => entry.node === from)
    .flatMap(({ effect }) => (effect.kind === 'send' ? [effect.message] : []))
    .flatMap((message) => (message.kind === 'grant-answer' ? [`${message.outcome}: ${message.because}`] : []));

const grants = (lab: Lab): { class: string; node: string; job: unknown }[] =>
  lab
    .effects('note')
    .filter((note) => note.event === 'grant-sent')
    .map(({ fields }) => ({ class: String(fields.class), node: String(fields.node), job: fields.job }));

/** GitLab's queue fails seven times, so that the pause is long; the number of times that it was read. */
function failSeven(lab: Lab, because: string): number {
  for (let tries = 0; tries < 6; tries += 1) {
    lab.feed('kang', { kind: 'queue-failed', because });
    lab.run(20_000);
  }
  lab.feed('kang', { kind: 'queue-failed', because });
  return lab.effects('read-queue').length;
}

describe('the leader grants', () => {
  it('in the order of the queue, and what fits nowhere does not hold up the rest', () => {
    const lab = new Lab({ machines: two(), ledger: withClasses([], ['gpu'], ['vram-48g']) });
    lab.push(1, ['vram-48g']);
    lab.push(2, ['gpu']);
    lab.push(3);
    lab.push(4, ['gpu']);
    lab.run(1500);
    expect(grants(lab).slice(0, 2)).toEqual([
      { class: 'gpu', node: 'desktop-1', job: 2 },
      { class: '', node: 'kang', job: 3 },
    ]);
    lab.run(3000);
    expect(lab.taken.map((one) => one.job)).toEqual(expect.arrayContaining([2, 3, 4]));
    expect(lab.pending.map((one) => one.job)).toEqual([1]);
  });

  it('counts its own grants as taken room before any report says so', () => {
    const ledger = (plain: Ledger): Ledger => {
      const made = withClasses([])(plain);
      const kang = made.nodes.kang;
      return kang ? { ...made, nodes: { ...made.nodes, kang: { ...kang, witness: true } } } : made;
    };
    const lab = new Lab({ machines: { kang: measured(), small: measured({ cores: 1 }) }, ledger, mute: ['take-job'] });
    lab.run(3000);
    lab.push(1);
    lab.feed('kang', { kind: 'queue-hinted' });
    let late = false;
    lab.check = () => {
      if (late || grants(lab).length === 0) return;
      late = true;
      lab.push(2);
      lab.feed('kang', { kind: 'queue-hinted' });
    };
    lab.run(3000);
    expect(late).toBe(true);
    expect(grants(lab)).toEqual([{ class: '', node: 'small', job: 1 }]);
    expect(answers(lab, 'small')).toEqual([]);
  });

  it('waits for the reports of nodes that live, but at most 1 s after it began to lead', () => {
    const lab = new Lab({ machines: two(), ledger: withClasses([]) });
    lab.run(500);
    lab.node('desktop-1').up = false;
    lab.push(1);
    lab.elect('kang');
    const began = lab.at;
    lab.run(900);
    expect(grants(lab)).toEqual([]);
    lab.run(300);
    expect(grants(lab)).toEqual([{ class: '', node: 'kang', job: 1 }]);
    const sent = lab.node('kang').jobs.lead?.since;
    expect(sent).toBe(began);
  });

  it('writes nothing without fresh proof that it leads (SAFETY J6)', () => {
    const lab = new Lab({ machines: two(), ledger: withClasses([]) });
    lab.contactLost = true;
    lab.push(1);
    lab.push(2, ['cpu-2']);
    lab.run(5000);
    expect(grants(lab)).toEqual([]);
    expect(lab.effects('create-runner')).toEqual([]);
    lab.contactLost = false;
    lab.run(1000);
    expect(lab.taken).toHaveLength(2);
  });

  it('books a grant that nobody answers until its node cannot use it any more', () => {
    const lab = new Lab({ machines: { kang: measured({ cores: 1 }) }, ledger: withClasses([]), mute: ['take-job'] });
    lab.push(1);
    lab.push(2);
    lab.run(70_000);
    expect(grants(lab)).toHaveLength(1);
    expect(Object.keys(lab.node('kang').jobs.own.reserved)).toHaveLength(1);
  });

  it('three empty grants in a row: the class backs off, 1 s doubling to 30 s', () => {
    const lab = new Lab({
      machines: { kang: measured() },
      ledger: withClasses([]),
      take: (effect) => ({ kind: 'take-ended', grant: effect.grant, outcome: { kind: 'empty', because: 'nothing' } }),
    });
    lab.push(1);
    lab.run(2000);
    const early = grants(lab).length;
    expect(early).toBeGreaterThanOrEqual(3);
    lab.run(60_000);
    const later = grants(lab).length;
    expect(later - early).toBeLessThanOrEqual(6);
    lab.run(90_000);
    expect(grants(lab).length - later).toBeLessThanOrEqual(4);
    expect(grants(lab).length - later).toBeGreaterThanOrEqual(2);
  });

  it('never two queue reads at a time; a failing GitLab is asked less and less', () => {
    const lab = new Lab({ machines: { kang: measured() }, mute: ['read-queue'] });
    lab.run(1000);
    for (let hint = 0; hint < 20; hint += 1) lab.feed('kang', { kind: 'queue-hinted' });
    lab.run(1000);
    expect(lab.effects('read-queue')).toHaveLength(1);
    lab.feed('kang', { kind: 'queue-failed', because: 'GitLab answers 502' });
    lab.run(900);
    expect(lab.effects('read-queue')).toHaveLength(1);
    lab.run(200);
    expect(lab.effects('read-queue')).toHaveLength(2);
    expect(lab.notes('gitlab-state')).toEqual(["GitLab's queue cannot be read: GitLab answers 502"]);
    for (let tries = 0; tries < 10; tries += 1) {
      lab.feed('kang', { kind: 'queue-failed', because: 'GitLab answers 502' });
      lab.run(30_000);
    }
    expect(lab.effects('read-queue').length).toBeLessThanOrEqual(12);
  });

  it('looks at once when GitLab took the result of a run, whatever failed before, but not on a mere hint', () => {
    const lab = new Lab({ machines: { kang: measured(), 'desktop-1': measured() }, mute: ['read-queue'] });
    lab.run(1000);
    const before = failSeven(lab, 'connection refused');
    lab.feed('kang', { kind: 'queue-hinted' });
    lab.run(500);
    expect(lab.effects('read-queue').length).toBe(before);
    const result = { state: 'success' as const, exitCode: 0, reason: null, because: 'ok' };
    const run = labRun({ run: 'r1', node: 'desktop-1', state: 'delivered', finishedAt: lab.wallMs, result });
    const message = { kind: 'own-runs' as const, boot: 'boot-desktop-1', runs: [run] };
    lab.feed('kang', { kind: 'heard', from: 'desktop-1', message });
    lab.run(100);
    expect(lab.effects('read-queue').length).toBe(before + 1);
  });

  it('looks at a newly connected GitLab at once, whatever failed before', () => {
    const lab = new Lab({ machines: { kang: measured() }, mute: ['read-queue'] });
    lab.run(1000);
    const before = failSeven(lab, 'the token is wrong');
    const gitlab = { ...lab.committed.gitlab, token: 'another' };
    lab.committed = { ...lab.committed, gitlab };
    lab.accepted = lab.committed;
    lab.feed('kang', { kind: 'ticked' });
    expect(lab.effects('read-queue').length).toBe(before + 1);
    expect(lab.node('kang').jobs.lead?.queue.failedBecause).toBeNull();
  });

  it('without an admin token keeps one standing grant per given class', () => {
    const given = (ledger: Ledger): Ledger => {
      const made = withClasses([], ['gpu'])(ledger);
      return {
        ...made,
        gitlab: { ...made.gitlab, token: null },
        classes: Object.fromEntries(Object.entries(made.classes).map(([key, one]) => [key, { ...one, given: true }])),
      };
    };
    const lab = new Lab({ machines: two(), ledger: given });
    lab.run(10_000);
    expect(lab.effects('read-queue')).toEqual([]);
    const asked = grants(lab);
    expect(new Set(asked.map((one) => `${one.class} ${one.node}`))).toEqual(new Set([' kang', 'gpu desktop-1']));
    expect(asked.length).toBeGreaterThanOrEqual(6);
    expect(asked.length).toBeLessThanOrEqual(14);
    lab.push(5, ['gpu']);
    lab.run(4000);
    expect(lab.taken).toEqual([{ job: 5, node: 'desktop-1' }]);
  });

  it('leaves a node alone that refused, and says why it waits', () => {
    const lab = new Lab({
      machines: { kang: measured() },
      ledger: withClasses([]),
      take: (effect) => ({
        kind: 'take-ended',
        grant: effect.grant,
        outcome: { kind: 'failed', because: 'GitLab answers 403', maybeTaken: false },
      }),
    });
    lab.push(1);
    lab.run(10_000);
    expect(grants(lab).length).toBeLessThanOrEqual(7);
    expect(lab.node('kang').jobs.lead?.classes['']?.missBecause).toBe('GitLab answers 403');
  });
});

describe('a node takes a grant', () => {
  const quiet = () => new Lab({ machines: two(), ledger: withClasses([]) });

  it('persists that it asks before it asks (SAFETY J3)', () => {
    const lab = quiet();
    lab.feed('desktop-1', { kind: 'heard', from: 'kang', message: grantTo() });
    const persist = lab.effects('persist')[0];
    expect(persist?.writes[0]).toMatchObject({ key: 'asking', value: [{ grant: 'g1' }] });
    expect(persist?.then.map((effect) => effect.kind)).toEqual(['take-job']);
    expect(persist?.seq).toBe(1);
    expect(lab.effects('take-job')).toEqual([]);
    lab.run(100);
    expect(lab.effects('take-job')).toHaveLength(1);
    expect(lab.node('desktop-1').jobs.asking).toEqual([]);
    expect(answers(lab, 'desktop-1')).toEqual(['empty: GitLab had no job']);
  });

  const refusals: [string, Partial<MessageOf<'grant'>>, string][] = [
    ['an old term', { term: 0 }, 'refused: the grant is of term 0, and term 1 has begun'],
    ['no room', { tags: ['cpu-4'] }, 'refused: has 2 CPU, and the job needs 4'],
    [
      'a GPU that is not here',
      { tags: ['gpu'], gpus: ['other'] },
      'refused: a GPU of the grant is not in this machine',
    ],
  ];
  it.each(refusals)('refuses %s', (_name, over, because) => {
    const lab = quiet();
    lab.feed('desktop-1', { kind: 'heard', from: 'kang', message: grantTo(over) });
    expect(answers(lab, 'desktop-1')).toEqual([because]);
    expect(lab.effects('persist')).toEqual([]);
  });

  it('refuses when paused meanwhile, and a second grant of the same GPU', () => {
    const lab = quiet();
    const gpu = { tags: ['gpu'], gpus: [gpu3090.uuid] };
    lab.feed('desktop-1', { kind: 'heard', from: 'kang', message: grantTo(gpu) });
    lab.feed('desktop-1', { kind: 'heard', from: 'kang', message: grantTo({ ...gpu, grant: 'g2' }) });
    lab.feed('desktop-1', {
      kind: 'measured',
      measured: measured({ cores: 2, paused: 'all', pausedBecause: 'paused for 2 h' }),
      addresses: [],
      version: '0.1.0',
    });
    lab.feed('desktop-1', { kind: 'heard', from: 'kang', message: grantTo({ grant: 'g3' }) });
    expect(answers(lab, 'desktop-1')).toEqual([
      'refused: its only GPU has 24 of 24 GiB free: another run has it',
      'refused: paused for 2 h',
    ]);
  });

  it('counts a run once when its record comes before the end of its grant', () => {
    const lab = quiet();
    lab.feed('desktop-1', { kind: 'heard', from: 'kang', message: grantTo() });
    const run = labRun({ run: 'r1', node: 'desktop-1', grant: 'g1', state: 'taken', takenAt: lab.wallMs });
    lab.feed('desktop-1', { kind: 'run-changed', run });
    const room = () => lab.node('desktop-1').jobs.reports['desktop-1']?.report;
    expect(room()?.room.cpuMillis).toBe(1000);
    expect(room()?.reserved).toEqual([]);
    lab.feed('desktop-1', { kind: 'take-ended', grant: 'g1', outcome: { kind: 'taken', run } });
    expect(room()?.room.cpuMillis).toBe(1000);
    expect(lab.node('desktop-1').jobs.own.reserved).toEqual({});
  });

  it('uses a grant once, whatever the network repeats (SAFETY J5)', () => {
    const lab = quiet();
    for (let count = 0; count < 3; count += 1)
      lab.feed('desktop-1', { kind: 'heard', from: 'kang', message: grantTo() });
    lab.run(200);
    lab.feed('desktop-1', { kind: 'heard', from: 'kang', message: grantTo() });
    lab.run(200);
    expect(lab.effects('take-job')).toHaveLength(1);
  });

  it('after a restart tells of the grant that was never answered, and clears it (SAFETY J3)', () => {
    const lab = new Lab({ machines: two(), ledger: withClasses([]), mute: ['take-job'] });
    lab.feed('desktop-1', { kind: 'heard', from: 'kang', message: grantTo() });
    lab.run(50);
    expect(lab.node('desktop-1').jobs.asking).toHaveLength(1);
    lab.boot('desktop-1', measured({ cores: 2 }), 'boot-desktop-1');
    lab.run(3000);
    expect(lab.notes('grant-unanswered')).toEqual([
      'this agent was restarted while it asked GitLab for a job of no tags: what GitLab may have given then is looked for',
    ]);
    expect(lab.node('desktop-1').jobs.asking).toEqual([]);
    expect(lab.effects('persist').at(-1)?.writes).toEqual([{ key: 'asking', value: [] }]);
  });
});

describe('the pairing window and jobs', () => {
  it('exclude each other: the first job closes the window, and is granted only when that is committed', () => {
    const open = Number.MAX_SAFE_INTEGER;
    const lab = new Lab({
      machines: { kang: measured() },
      ledger: (ledger) => ({ ...withClasses([])(ledger), pairUntil: open }),
    });
    const grants = (): number => lab.log.filter(({ effect }) => JSON.stringify(effect).includes('"take-job"')).length;
    lab.run(3000);
    expect([lab.committed.pairUntil, grants()]).toEqual([open, 0]);
    let isOpenAtGrant = false;
    lab.check = () => {
      if (grants() > 0 && lab.committed.pairUntil > 0) isOpenAtGrant = true;
    };
    lab.push(1);
    lab.run(5000);
    expect([lab.committed.pairUntil, grants() > 0, isOpenAtGrant]).toEqual([0, true, false]);
  });
});
