import { describe, expect, it } from 'vitest';
import type { Change } from '../../protocol/changes.ts';
import { abilities, Ledger } from '../../protocol/ledger.ts';
import type { NoticeMemory } from '../../protocol/notices.ts';
import { applyChange } from '../../scheduler/membership.ts';
import { doneSentence } from '../../scheduler/membership-sentence.ts';
import { noMemory } from '../../scheduler/notices/notice-steps.ts';
import { whyNot, withAct } from '../../scheduler/raft/acts.ts';
import { receiverOf } from '../../scheduler/raft/client-requests.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';

const founded = foundedMesh();
const ofToday: Ledger = { ...founded, nodes: { K: { ...founded.nodes.K!, can: [...abilities] } } };
const target = { kind: 'webhook', secret: 'sealed', shown: 'https://home.lan/…' };
const add = (name: string, more: Partial<Change & { kind: 'notice-target' }> = {}): Change => ({
  ...{ kind: 'notice-target', name, target, because: 'asked on kang' },
  ...more,
});
function applied(ledger: Ledger, change: Change): Ledger {
  const after = applyChange(ledger, change, 1000);
  if ('refused' in after) throw new Error(String(after.refused));
  return Ledger.parse(JSON.parse(JSON.stringify(after)));
}
const refusal = (ledger: Ledger, change: Change): string => {
  const after = applyChange(ledger, change, 1000);
  return 'refused' in after ? String(after.refused) : '';
};
const out = (to: string[]): NoticeMemory['out'][number] => ({
  ...{
    id: 'a-1',
    incident: 'a',
    state: 'broken',
    severity: 'warn',
    at: 1,
    title: 't',
    text: 't',
    fix: null,
    act: null,
    to,
  },
});

describe('whom the mesh tells', () => {
  it('is in the ledger while anybody is told, and what is told is said to all', () => {
    const change = add('phone');
    const one = applied(ofToday, change);
    expect(one.notices?.targets.phone).toEqual({ ...target, since: 1000, because: 'asked on kang' });
    expect(doneSentence(change, ofToday, one)).toBe(
      'phone is told when something is wrong (webhook, https://home.lan/…)',
    );
    expect(withAct(ofToday, one, change, 'K', 5).acts?.at(-1)?.sentence).toBe(
      'phone is told when something is wrong (https://home.lan/…), as was asked on kang',
    );
    const gone = applied(one, add('phone', { target: null }));
    expect('notices' in gone).toBe(false);
    expect(refusal(one, add('fone', { target: null }))).toBe('nobody who is told is called fone: told are phone');
  });

  it('a machine of an earlier version that votes keeps it from being said, and is asked nothing that it cannot read', () => {
    const old = { ...ofToday, nodes: { K: { ...ofToday.nodes.K!, can: ['envelopes', 'adopt'] } } };
    expect(refusal(old, add('phone'))).toBe(
      'kang runs an earlier version, which tells nobody anything: upgrade it first',
    );
    const turn = (ledger: Ledger) =>
      ({ self: 'D', raft: { leader: { node: 'K' }, votedFor: null, accepted: ledger } }) as unknown as Parameters<
        typeof receiverOf
      >[0];
    const reseal: Change = { kind: 'reseal', notices: { phone: { was: 'a', now: 'b' } } };
    const told: Change = { kind: 'notices-told', from: 0, memory: noMemory };
    for (const change of [add('phone'), told, reseal, { kind: 'quiet-hours', quiet: null } as const])
      expect([receiverOf(turn(old), { change }), receiverOf(turn(ofToday), { change })]).toEqual([null, 'K']);
    // Without any of it a reseal is as before.
    expect(receiverOf(turn(old), { change: { kind: 'reseal' } })).toBe('K');
  });

  it('quiet hours that end when they begin are refused, whoever asks for them', () => {
    const hours = { from: 60, to: 60, zone: 'UTC', all: false };
    expect(refusal(ofToday, { kind: 'quiet-hours', quiet: hours })).toMatch(/^hours that end when they begin are none/);
    expect(applied(ofToday, { kind: 'quiet-hours', quiet: { ...hours, to: 61 } }).notices?.quiet?.to).toBe(61);
  });

  it('only a voter may say whom, and at most sixteen are told', () => {
    const crowd = { ...ofToday, nodes: { ...ofToday.nodes, W: { ...ofToday.nodes.K!, name: 'attic' } } };
    expect(whyNot(crowd, add('phone'), 'W')).toContain('attic does not vote');
    let full = ofToday;
    for (let i = 0; i < 16; i++) full = applied(full, add(`n${i}`));
    expect(refusal(full, add('more'))).toBe('16 are told already: autogit-node notify remove NAME');
    expect(applied(full, add('n3', { target: { ...target, shown: 'other' } })).notices?.targets.n3?.shown).toBe(
      'other',
    );
  });

  it("what a file says changes nothing of a person's word, and goes with the file's own", () => {
    const byFile = applied(ofToday, add('f-1', { file: 'K' }));
    expect(byFile.notices?.targets['f-1']?.file).toBe('K');
    const person = applied(byFile, add('phone'));
    expect(applyChange(person, add('phone', { file: 'K', target: null }), 1)).toBe(person);
    expect(Object.keys(applied(person, add('f-1', { file: 'K', target: null })).notices?.targets ?? {})).toEqual([
      'phone',
    ]);
  });

  it('quiet hours stay when the last one is told no more', () => {
    const quiet = { from: 1320, to: 420, zone: 'Europe/Paris', all: false };
    const change: Change = { kind: 'quiet-hours', quiet };
    const one = applied(applied(ofToday, change), add('phone'));
    expect(doneSentence(change, ofToday, one)).toBe('it is quiet from 22:00 to 07:00 (Europe/Paris)');
    const gone = applied(one, add('phone', { target: null }));
    expect(gone.notices).toEqual({ targets: {}, quiet });
    expect('notices' in applied(gone, { kind: 'quiet-hours', quiet: null })).toBe(false);
  });
});

describe('what was told', () => {
  it('of two words that begin at the same one counts; nothing waits for who is told no more', () => {
    const both = applied(applied(ofToday, add('phone')), add('mail'));
    const memory = {
      ...noMemory,
      out: [out(['phone', 'mail', 'gone'])],
      failing: { gone: { since: 1, because: 'no' } },
    };
    const told = applied(both, { kind: 'notices-told', from: 0, memory });
    expect(told.notices?.memory).toMatchObject({ version: 1, out: [{ to: ['phone', 'mail'] }], failing: {} });
    expect(refusal(told, { kind: 'notices-told', from: 0, memory })).toContain('came first');
    const less = applied(told, add('mail', { target: null }));
    expect(less.notices?.memory).toMatchObject({ version: 2, out: [{ to: ['phone'] }] });
    expect(refusal(ofToday, { kind: 'notices-told', from: 0, memory })).toBe('nobody is told anything any more');
  });

  it('an agent of before keeps all of it as it is', () => {
    const now = applied(applied(ofToday, add('phone')), {
      kind: 'notices-told',
      from: 0,
      memory: { ...noMemory, out: [out(['phone'])] },
    });
    // What it does not know it passes on.
    const { notices: _ours, ...shape } = Ledger.shape;
    const before = Ledger.omit({ notices: true });
    expect(Object.keys(shape)).not.toContain('notices');
    expect(before.parse(JSON.parse(JSON.stringify(now)))).toEqual(now);
  });
});
