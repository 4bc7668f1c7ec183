import { describe, expect, it } from 'vitest';
import type { Change } from '../../protocol/changes.ts';
import { decode, encode } from '../../protocol/codec.ts';
import type { Act } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { Envelope, type MessageOf, type PeerMessage } from '../../protocol/messages.ts';
import { snapshot } from '../../scheduler/snapshot.ts';
import { Lab } from './jobs-lab.ts';
import { measured } from './jobs-lab-machines.ts';
import { ledgerOf, One, three, vote, wall } from './raft-one.ts';
import { viewOf } from './snapshot-lab.ts';

/** SAFETY L17: one bad member must not end elections for good. */

const far = 2 ** 51;
const stamp = { term: far, version: 8 };
const store = 'sA';
const because = '';

describe('what no honest node could send is void, said, and ends the link (L17)', () => {
  const hello = { kind: 'hello', boot: 'b', store, term: 3, stamp: { term: 3, version: 7 }, version: '0' } as const;
  const lies: [string, PeerMessage][] = [
    ['a vote', vote(far)],
    ['a pre-vote', { kind: 'pre-vote', term: far, stamp: { term: 3, version: 7 }, evidence: 'none', leader: null }],
    ['a stamp in a vote', vote(4, stamp)],
    ['a refusal', { kind: 'pre-vote-answer', term: far, granted: false, store, because }],
    ['a vote-answer', { kind: 'vote-answer', term: far, granted: false, store, because }],
    ['an append', { kind: 'append', term: far, round: 1, stamp, committed: stamp, ledger: null }],
    ['an ack', { kind: 'ack', term: far, round: 1, stamp: null, store }],
    ['a promise', { ...hello, promised: { term: far, stamp: { term: 3, version: 7 }, store: 'sB' } }],
    ['a ledger in a hello', { ...hello, promised: null, ledger: { ...three(), stamp } }],
    ['a version', { ...hello, promised: null, ledger: { ...three(), stamp: { term: 3, version: 2 ** 40 } } }],
    ['just above', vote(3 + 2 ** 20 + 1)],
  ];
  it.each(lies)('%s', (_what, message) => {
    for (const from of ['A', 'stranger-to-the-configuration']) {
      const one = new One();
      const before = { term: one.state.raft.term, accepted: one.state.raft.accepted };
      one.hear(from, message).disk();
      expect(one.state.raft).toMatchObject(before);
      expect(one.said).toEqual([]);
      expect(one.events()).toContain('message-refused');
      expect(one.effects).toContainEqual(expect.objectContaining({ kind: 'cut-link', node: from }));
    }
  });
  it('an era that no number of people could have begun', () => {
    const one = new One().feed({ kind: 'heard', from: 'A', message: vote(4), era: { id: 'z', counter: 2 ** 30 } });
    expect([one.state.raft.newerEra, one.events()]).toEqual([null, ['message-refused']]);
    expect(
      new One().feed({ kind: 'heard', from: 'A', message: vote(4), era: { id: 'z', counter: 1 } }).events(),
    ).not.toContain('message-refused');
  });
  it('up to days of elections are believed', () => {
    expect(
      new One()
        .hear('A', vote(3 + 2 ** 20))
        .disk()
        .last('vote-answer'),
    ).toMatchObject({ granted: true });
  });
  it('numbers that nobody could count on from are no message at all', () => {
    const send = (message: unknown) =>
      decode(Envelope, encode({ v: 1, era: null, message }, limits.frameBytes), limits.frameBytes);
    expect(() => send(vote(2 ** 52))).not.toThrow();
    expect(() => send(vote(2 ** 52 + 1))).toThrow(/agreed form/);
    expect(() => send(vote(4, { term: 3, version: 2 ** 53 - 1 }))).toThrow(/agreed form/);
  });
});

describe('a member that does not vote makes no term rise', () => {
  const withPlain = () => {
    const ledger = three();
    return { ...ledger, nodes: { ...ledger.nodes, P: { ...ledger.nodes.A!, name: 'p' } } };
  };
  const append = { kind: 'append', term: 3, round: 1, committed: { term: 3, version: 7 }, ledger: null } as const;

  it('by asking for votes, while there is a leader; it may be a voter of a newer configuration when there is none (L7)', () => {
    const one = new One(withPlain()).hear('A', { ...append, stamp: { term: 3, version: 7 } });
    for (const handover of [false, true]) one.hear('P', { ...(vote(4) as MessageOf<'vote'>), handover });
    expect(one.state.raft.term).toBe(3);
    expect(one.last('vote-answer')).toMatchObject({ granted: false });
    const ask = { kind: 'pre-vote', stamp: { term: 3, version: 7 }, evidence: 'none', leader: null } as const;
    expect(one.hear('P', { ...ask, term: 4 }).last('pre-vote-answer')).toMatchObject({ granted: false });
    expect(one.hear('P', vote(4)).state.raft.term).toBe(3);
    const alone = new One(withPlain());
    expect(alone.hear('P', vote(4)).state.raft.term).toBe(3);
    expect(alone.hear('P', { ...ask, term: 4 }).last('pre-vote-answer')).toMatchObject({ granted: true });
    expect(alone.hear('P', vote(5)).state.raft.term).toBe(3);
    expect(alone.hear('P', vote(4)).disk().last('vote-answer')).toMatchObject({ granted: true });
  });
  it('by answers that nobody asked it for, and by acknowledgements once a minute only', () => {
    const one = new One(withPlain()).elect();
    const { term } = one.state.raft;
    one.hear('P', { kind: 'vote-answer', term: term + 5, granted: false, store: 'sP', because });
    one.hear('P', { kind: 'pre-vote-answer', term: term + 5, granted: false, store: 'sP', because });
    expect(one.state.raft).toMatchObject({ term, leading: expect.anything() });
    one.hear('P', { kind: 'ack', term: term + 1, round: 1, stamp: null, store: 'sP' });
    expect(one.state.raft.term).toBe(term + 1);
    one.elect();
    const next = one.state.raft.term;
    one.hear('P', { kind: 'ack', term: next + 1, round: 1, stamp: null, store: 'sP' });
    expect(one.state.raft.term).toBe(next);
    one.hear('A', { kind: 'ack', term: next + 1, round: 1, stamp: null, store });
    expect(one.state.raft.term).toBe(next + 1);
  });
});

describe('grants come of the leader', () => {
  const grant = (term: number): MessageOf<'grant'> => ({
    kind: 'grant',
    grant: `g${term}`,
    term,
    class: '',
    tags: [],
    runner: 1,
    token: 't',
    ttlMs: 10_000,
    gpus: [],
    because,
  });
  it('one of anybody else is refused, raises nothing, and the true one is taken after it', () => {
    const lab = new Lab({ machines: { kang: measured(), b: measured(), c: measured() } });
    lab.run(3000);
    for (const term of [lab.term, lab.term + 7, 10 ** 9])
      lab.feed('b', { kind: 'heard', from: 'c', message: grant(term) });
    const takes = () =>
      lab.log.filter(({ node, effect }) => node === 'b' && JSON.stringify(effect).includes('take-job'));
    expect(takes()).toEqual([]);
    lab.feed('b', { kind: 'heard', from: 'kang', message: { ...grant(lab.term), grant: 'true-one' } });
    expect(takes()).toHaveLength(1);
  });
});

describe("a voter's acts", () => {
  const ledger = () => {
    const base = ledgerOf({ A: 2, B: 2, C: 2 });
    return { ...base, approvals: { D: approval }, nodes: { ...base.nodes, P: { ...base.nodes.A!, name: 'p' } } };
  };
  const approval = {
    name: 'd',
    address: '',
    words: 'w',
    since: wall,
    via: 'P',
    store: 's',
    addresses: [],
    witness: false,
    ignored: false,
  };
  const acts: Change[] = [
    { kind: 'approve', node: 'd', words: 'w', because },
    { kind: 'forget', node: 'c' },
    { kind: 'connect-gitlab', url: 'http://evil', token: 't', instance: null, runnerTokens: [] },
    { kind: 'disconnect-gitlab', now: true, force: true },
    { kind: 'uninstall-gitlab', deleteData: true },
    { kind: 'make-invite', invite: 'i', code: 'c', expiresAt: wall * 2, by: 'P' },
    { kind: 'pair', until: wall * 2 },
  ];
  const asking = (from: string, change: Change): string | undefined => {
    const one = new One(ledger()).elect();
    one.ack('A', one.state.raft.accepted.stamp.version).ack('C', one.state.raft.accepted.stamp.version);
    one.hear(from, { kind: 'change', id: 'q', change }).disk();
    for (const node of ['A', 'C']) one.ack(node, one.state.raft.accepted.stamp.version);
    return one.last('change-answer')?.outcome.because;
  };
  it.each(acts)('$kind is refused from one that does not vote, with who may', (change) => {
    expect(asking('P', change)).toBe(
      'p does not vote, and only a machine that does may do this: type it on a or b or c',
    );
    expect(asking('A', change.kind === 'make-invite' ? { ...change, by: 'A' } : change)).not.toContain('does not vote');
  });
  it('a node speaks for its own newcomers and invites only', () => {
    expect(asking('A', { kind: 'approve-paired', node: 'D', approval })).toBe('a node may say this of itself only');
    expect(asking('A', { ...(acts[5] as Change & { kind: 'make-invite' }), by: 'C' })).toBe(
      'a node may say this of itself only',
    );
    expect(asking('A', { kind: 'forget', node: 'a' })).toContain('a is this machine: autogit-node leave');
  });
  it('a removal and a connected GitLab are said by every machine, and shown for an hour', () => {
    const one = new One(ledger()).elect();
    const change: Change = { kind: 'connect-gitlab', url: 'http://gl', token: 't', instance: null, runnerTokens: [] };
    one.hear('A', { kind: 'change', id: 'q', change }).disk();
    one.hear('A', { kind: 'change', id: 'r', change: { kind: 'forget', node: 'p', by: 'ann on a' } }).disk();
    for (const node of ['A', 'C']) one.ack(node, one.state.raft.accepted.stamp.version);
    const { acts: done } = one.state.raft.committed!;
    expect(done?.map(({ sentence }) => sentence)).toEqual([
      'GitLab at http://gl was connected on a',
      'p was removed from the mesh by ann on a (asked on a)',
    ]);
    expect(one.events().filter((event) => event === 'act')).toHaveLength(2);
    const lab = new Lab({ machines: { kang: measured(), b: measured() } });
    lab.run(1000);
    const view = viewOf(lab, 'b');
    const shown = (afterMs: number) =>
      snapshot({
        ...view,
        ledger: { ...view.ledger!, acts: [{ kind: 'forget', at: view.wallMs - afterMs, sentence: 'p was removed' }] },
      }).attention.filter(({ code }) => code === 'act-forget');
    expect(shown(60_000)).toMatchObject([{ severity: 'info', sentence: expect.stringContaining('p was removed, ') }]);
    expect(shown(3_700_000)).toEqual([]);
  });

  it('that jobs of a connected GitLab run here is said for as long as it is so', () => {
    const lab = new Lab({ machines: { kang: measured(), b: measured() } });
    lab.run(1000);
    const view = viewOf(lab, 'b');
    const ledger = view.ledger!;
    const at = view.wallMs - 60_000;
    const connected = {
      kind: 'connect-gitlab',
      at,
      sentence: 'GitLab at http://gl was connected on b: its jobs run here',
    };
    const gone = { kind: 'gitlab-gone', at: at + 1, sentence: 'GitLab at http://gl is disconnected' };
    const said = (mode: 'none' | 'connected', ...acts: Act[]) =>
      snapshot({ ...view, ledger: { ...ledger, gitlab: { ...ledger.gitlab, mode }, acts } })
        .attention.filter(({ code }) => code.startsWith('act-'))
        .map(({ sentence }) => sentence.replace(/\d.* ago/, 'AGO'));
    const plain = 'GitLab at http://gl was connected on b, AGO';
    expect(said('connected', connected)).toEqual([`${plain}: its jobs run here`]);
    const asked = { kind: 'disconnect-gitlab', at, sentence: 'GitLab at http://gl is to be disconnected' };
    expect(said('none', connected, asked, gone)).toEqual([plain, 'GitLab at http://gl is disconnected, AGO']);
    expect(said('connected', connected, gone, { ...connected, at: at + 2 })).toEqual([
      plain,
      'GitLab at http://gl is disconnected, AGO',
      `${plain}: its jobs run here`,
    ]);
  });
});
