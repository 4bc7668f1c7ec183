import { describe, expect, it } from 'vitest';
import type { Change } from '../../protocol/changes.ts';
import type { Ledger, OpenApproval } from '../../protocol/ledger.ts';
import { isRefusal } from '../../scheduler/ledger-edit.ts';
import { applyChange } from '../../scheduler/membership.ts';
import { doneSentence } from '../../scheduler/membership-sentence.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';

const now = 1_800_000_000_000;
const founded = (): Ledger => foundedMesh({ store: 'store-K', wallMs: now });
const approval = (name: string, words = `words-${name}`): OpenApproval => ({
  name,
  address: '192.168.1.7',
  words,
  since: now,
  via: 'K',
  store: `store-${name}`,
  addresses: [],
  witness: false,
  ignored: false,
});
const open = (node: string, name: string, words?: string): Change => ({
  kind: 'open-approval',
  node,
  approval: approval(name, words),
});
/** With the words that were compared: those of desktop-1, when nothing else is said. */
const approve = (node: string | null, words: string | null = 'words-desktop-1'): Change => ({
  kind: 'approve',
  node,
  words,
  because: 'approved on kang',
});
/** All changes in order; a refusal of any of them fails the test. */
const made = (...changes: Change[]): Ledger => {
  let ledger = founded();
  for (const change of changes) {
    const next = applyChange(ledger, change, now);
    if (isRefusal(next)) throw new Error(next.refused);
    ledger = next;
  }
  return ledger;
};
const refusal = (ledger: Ledger, change: Change, wallMs = now): string => {
  const next = applyChange(ledger, change, wallMs);
  return isRefusal(next) ? next.refused : `done: ${doneSentence(change, ledger, next)}`;
};

describe('letting in', () => {
  it('approves the only one that waits', () => {
    const ledger = made(open('D1', 'desktop-1'), approve(null));
    expect(ledger.nodes.D1).toEqual({
      name: 'desktop-1',
      approvedAt: now,
      because: 'approved on kang',
      addresses: [],
      store: 'store-desktop-1',
      witness: false,
      drained: false,
      left: false,
    });
    expect(ledger.approvals).toEqual({});
  });
  it('tells those that wait apart by their words, by name or by id', () => {
    const two = made(open('D1', 'desktop-1'), open('D2', 'desktop-2'));
    for (const node of [null, 'desktop-2', 'D2'])
      expect(refusal(two, approve(node, 'words-desktop-2'))).toBe('done: desktop-2 is in the mesh');
  });
  it('lets nobody in whose words nobody compared, whoever asks and however it is named', () => {
    const one = made(open('D1', 'desktop-1'));
    for (const node of [null, 'desktop-1', 'D1']) expect(refusal(one, approve(node, null))).toContain('--words');
  });
  it('refuses other words than those shown', () => {
    expect(refusal(made(open('D1', 'desktop-1')), approve('desktop-1', 'coral-lamp'))).toContain(
      'desktop-1 shows other words: words-desktop-1',
    );
    expect(refusal(made(open('D1', 'desktop-1')), approve(null, 'coral-lamp'))).toBe(
      'no waiting machine shows the words coral-lamp',
    );
  });
  it('says who waits when the name is wrong', () => {
    expect(refusal(made(open('D1', 'desktop-1')), approve('desktop'))).toBe(
      'no machine called desktop waits; waiting: desktop-1; did you mean desktop-1?',
    );
    expect(refusal(founded(), approve(null))).toBe('no machine waits for approval');
  });
  it('approves twice as once', () => {
    const ledger = made(open('D1', 'desktop-1'), approve(null));
    expect(applyChange(ledger, approve('desktop-1'), now)).toBe(ledger);
  });
  it('gives a second one of a name a suffix', () => {
    const ledger = made(
      open('D1', 'kang'),
      approve('D1', 'words-kang'),
      open('D2', 'kang'),
      approve('D2', 'words-kang'),
    );
    expect(ledger.nodes.D1?.name).toBe('kang-2');
    expect(ledger.nodes.D2?.name).toBe('kang-3');
  });
  it('asks for the id when two of one name wait', () => {
    const two = made(open('D1', 'desktop'), open('D2', 'desktop'));
    expect(refusal(two, approve('desktop'))).toBe('2 waiting machines are called desktop: give the id, or --words');
  });
  it('keeps at most 16 waiting, and lets an ignored one make room', () => {
    const many = Array.from({ length: 16 }, (_, index) => open(`N${index}`, `n${index}`));
    expect(refusal(made(...many), open('X', 'x'))).toBe(
      '16 machines wait already: approve or ignore one of them first',
    );
    const ignored = made(...many, { kind: 'ignore', node: 'n3' });
    expect(refusal(ignored, open('X', 'x'))).toBe('done: x waits for approval');
  });
  it('leaves an ignored one ignored when it asks again', () => {
    const ledger = made(open('D1', 'desktop-1'), { kind: 'ignore', node: 'desktop-1' }, open('D1', 'desktop-1', 'new'));
    expect(ledger.approvals.D1).toMatchObject({ ignored: true, words: 'new' });
    expect(refusal(ledger, approve(null))).toBe('no machine waits for approval');
    expect(refusal(ledger, approve('desktop-1', 'new'))).toBe('done: desktop-1 is in the mesh');
  });
  it('has room for 64 nodes', () => {
    const ledger = founded();
    for (let index = 1; index < 64; index += 1) ledger.nodes[`N${index}`] = { ...ledger.nodes.K!, name: `n${index}` };
    const waiting = applyChange(ledger, open('X', 'x'), now) as Ledger;
    expect(refusal(waiting, approve(null, 'words-x'))).toContain('at most 64 nodes');
  });
});

describe('invites and pairing', () => {
  const invite: Change = { kind: 'make-invite', invite: 'i1', code: 'sealed', expiresAt: now + 1000, by: 'K' };
  const invited: Change = { kind: 'approve-invited', node: 'D1', approval: approval('desktop-1'), invite: 'i1' };
  it('is good once', () => {
    const ledger = made(invite, invited);
    expect(ledger.nodes.D1?.because).toBe('came with an invite made on kang');
    expect(ledger.invites).toEqual({});
    const again: Change = { kind: 'approve-invited', node: 'D2', approval: approval('desktop-2'), invite: 'i1' };
    expect(refusal(ledger, again)).toContain('used already');
  });
  it('expires', () => {
    expect(refusal(made(invite), invited, now + 1000)).toContain('has expired');
  });
  it('is limited in number, expired ones aside', () => {
    const many = Array.from({ length: 16 }, (_, index): Change => ({ ...invite, invite: `m${index}` }) as Change);
    expect(refusal(made(...many), invite)).toContain('16 invites are open');
    expect(refusal(made(...many), { ...invite, expiresAt: now + 9000 } as Change, now + 5000)).toBe(
      'done: the invite is open',
    );
  });
  it('lets in without a question while the window is open', () => {
    const paired: Change = { kind: 'approve-paired', node: 'D1', approval: approval('desktop-1') };
    expect(refusal(founded(), paired)).toContain('the pairing window is closed');
    const ledger = made({ kind: 'pair', until: now + 1000 });
    expect(refusal(ledger, paired)).toBe('done: desktop-1 is in the mesh');
    expect(refusal(ledger, paired, now + 1000)).toContain('closed');
  });
  it('opens no window while a job runs: it could let in whatever it likes', () => {
    const run = { state: 'running', job: 7 } as unknown as Ledger['runs'][string];
    const busy = { ...founded(), runs: { r: run } };
    expect(refusal(busy, { kind: 'pair', until: now + 1000 })).toContain('job 7 runs');
    expect(refusal(busy, { kind: 'pair', until: 0 })).toContain('done');
    const over = { ...busy, runs: { r: { ...run, state: 'delivered' as const } } };
    expect(refusal(over, { kind: 'pair', until: now + 1000 })).toContain('done');
  });
  it('does not let a forgotten node in by the window', () => {
    const ledger = made(
      open('D1', 'desktop-1'),
      approve(null),
      { kind: 'forget', node: 'desktop-1' },
      { kind: 'pair', until: now + 1000 },
    );
    expect(refusal(ledger, { kind: 'approve-paired', node: 'D1', approval: approval('desktop-1') })).toContain(
      'forgotten',
    );
    const back = applyChange(applyChange(ledger, open('D1', 'desktop-1'), now) as Ledger, approve(null), now) as Ledger;
    expect(back.forgotten).toEqual({});
  });
});

describe('nodes', () => {
  const two = (): Ledger => made(open('D1', 'desktop-1'), approve(null));
  const me: Change & { kind: 'introduce' } = {
    kind: 'introduce',
    node: 'D1',
    name: 'desktop-1',
    store: 'store-desktop-1',
    addresses: ['/ip4/192.168.1.7/tcp/7117'],
    witness: false,
  };
  it('introduce themselves, and nothing new changes nothing', () => {
    const ledger = applyChange(two(), me, now) as Ledger;
    expect(ledger.nodes.D1?.addresses).toEqual(me.addresses);
    expect(applyChange(ledger, me, now)).toBe(ledger);
  });
  it('keep their suffix when the name is taken', () => {
    const ledger = applyChange(two(), { ...me, name: 'kang' }, now) as Ledger;
    expect(ledger.nodes.D1?.name).toBe('kang-2');
    expect(applyChange(ledger, { ...me, name: 'kang' }, now)).toBe(ledger);
  });
  it('leave, and come back by introducing themselves', () => {
    const gone = applyChange(two(), { kind: 'depart', node: 'D1' }, now) as Ledger;
    expect(gone.nodes.D1?.left).toBe(true);
    expect((applyChange(gone, me, now) as Ledger).nodes.D1?.left).toBe(false);
  });
  it('say when they are back, once, and are held to nothing any more when they are', () => {
    const gone = applyChange(two(), { kind: 'depart', node: 'D1', backMs: 60_000 }, now) as Ledger;
    expect(gone.nodes.D1).toMatchObject({ left: true, backMs: 60_000 });
    expect(applyChange(gone, { kind: 'depart', node: 'D1', backMs: 600_000 }, now + 1)).toBe(gone);
    expect((applyChange(gone, me, now) as Ledger).nodes.D1).not.toHaveProperty('backMs');
  });
  it('are forgotten with what they opened', () => {
    const before = applyChange(
      two(),
      { kind: 'make-invite', invite: 'i', code: 'c', expiresAt: now + 1, by: 'D1' },
      now,
    );
    const other = { kind: 'make-invite', invite: 'j', code: 'c', expiresAt: now + 1, by: 'K' } as const;
    const both = applyChange(before as Ledger, other, now) as Ledger;
    const by = 'root on kang';
    const ledger = applyChange(both, { kind: 'forget', node: 'desktop-1', by }, now) as Ledger;
    expect(ledger.nodes.D1).toBeUndefined();
    expect([ledger.forgotten, ledger.forgottenBy]).toEqual([{ D1: now }, { D1: by }]);
    // The codes of all invites are sealed with a key that it has.
    expect(ledger.invites).toEqual({});
    const back = applyChange(applyChange(ledger, open('D1', 'desktop-1'), now) as Ledger, approve(null), now) as Ledger;
    expect([back.forgotten, back.forgottenBy]).toEqual([{}, {}]);
    const paired = applyChange(two(), { kind: 'pair', until: now + 600_000 }, now) as Ledger;
    // It could come back at once, as another machine.
    expect((applyChange(paired, { kind: 'forget', node: 'desktop-1' }, now) as Ledger).pairUntil).toBe(0);
    expect(refusal(ledger, { kind: 'forget', node: 'kang' })).toContain('kang is the only node');
  });
  it('are not touched by what JavaScript puts into every object', () => {
    expect(refusal(two(), { kind: 'forget', node: 'constructor' })).toContain('no node is called constructor');
    expect(refusal(two(), { kind: 'drain', node: '__proto__', drained: true })).toContain(
      'no node is called __proto__',
    );
  });
});

describe('settings', () => {
  it.each([
    ['retryLost', 'yes', 'retryLost is true or false'],
    ['silentMs', 2999, 'silentMs is a time from 3 s (less, and a job could run twice at once) to 10 min, such as 30s'],
    ['defaultArch', 'a b', 'defaultArch is the name of an architecture: amd64, arm64 or riscv64'],
    ['graceMs', -1, 'graceMs is a time up to 1d'],
    ['graceMs', Number.NaN, 'graceMs is a time up to 1d'],
    ['graceMs', 5000, 'done: graceMs is 5 s'],
    ['graceMs', 120_000, 'done: graceMs is 2 min already'],
  ] as const)('%s = %s: %s', (key, value, expected) => {
    expect(refusal(founded(), { kind: 'set', key, value })).toBe(expected);
  });
});

describe('GitLab', () => {
  const connect = (url: string): Change => ({
    kind: 'connect-gitlab',
    url,
    token: 'sealed',
    instance: 'uuid',
    runnerTokens: [{ tags: ['linux', 'gpu'], token: 'sealed-2' }],
  });
  it('is connected, with a class for each runner token', () => {
    const ledger = made(connect('http://gitlab.home'));
    expect(ledger.gitlab).toMatchObject({ mode: 'connected', url: 'http://gitlab.home', token: 'sealed' });
    expect(ledger.classes['gpu,linux']).toMatchObject({ tags: ['gpu', 'linux'], given: true, state: 'ready' });
  });
  it('forgets the classes of another one', () => {
    const other: Change = { kind: 'connect-gitlab', url: 'http://b', token: 'x', instance: null, runnerTokens: [] };
    expect(made(connect('http://a'), other).classes).toEqual({});
  });
  it('needs a token', () => {
    const none: Change = { kind: 'connect-gitlab', url: 'http://b', token: null, instance: null, runnerTokens: [] };
    expect(refusal(founded(), none)).toContain('a token is needed');
  });
});
