import { describe, expect, it } from 'vitest';
import { abilities, type Ledger } from '../../protocol/ledger.ts';
import type { PeerMessage } from '../../protocol/messages.ts';
import type { EffectOf } from '../../scheduler/effects.ts';
import { firstCopies } from '../../scheduler/hosting/copies-set.ts';
import { hostingDrained } from '../../scheduler/hosting/hosted-edits.ts';
import type { HostingState } from '../../scheduler/hosting/hosting-state.ts';
import { hostingTimings } from '../../scheduler/hosting/hosting-timings.ts';
import { emptyHosting, stepHosting } from '../../scheduler/hosting/step-hosting.ts';
import type { Happened } from '../../scheduler/inputs.ts';
import type { PartContext, PartStep } from '../../scheduler/part.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';

const { leaseMs, renewMs, waitMs, endAgainMs } = hostingTimings;
const data = 'k3v9q2m4';

/** K and D, which can both; D hosts epoch 1. */
function hostingLedger(over: Partial<Ledger['gitlab']> = {}): Ledger {
  const ledger = foundedMesh();
  const K = { ...ledger.nodes.K!, can: [...abilities] };
  const hosted = hostedGitlab({ data });
  const gitlab = { ...ledger.gitlab, mode: 'hosted' as const, host: 'D', epoch: 1, hosted, ...over };
  return { ...ledger, nodes: { K, D: { ...K, name: 'desktop-1' } }, gitlab };
}
const drained = (ledger: Ledger): Ledger => {
  const ending = { since: 0, deleteData: false, now: false, force: false, drained: false };
  const { hosted } = ledger.gitlab;
  return hostingDrained(data, 'settled').apply({
    ...ledger,
    gitlab: { ...ledger.gitlab, hosted: { ...hosted!, ending } },
  }) as Ledger;
};

/** This part alone, with an election and a ledger that the test says. */
class Part {
  at = 100_000;
  state: HostingState = emptyHosting;
  readonly context: PartContext;
  last: PartStep<HostingState> | null = null;
  contactAt = Number.NEGATIVE_INFINITY;

  constructor(self: string, leader: string | null, ledger = hostingLedger()) {
    this.context = {
      at: 0,
      wallMs: 1,
      self,
      boot: `boot-${self}`,
      isLeader: self === leader,
      mayAct: self === leader,
      term: 4,
      isNewEra: false,
      leader,
      isLeaving: false,
      ledger,
      committed: ledger,
      leaderContactAt: () => this.contactAt,
      liveness: () => ({ state: 'alive', since: 0 }),
    };
  }
  now(context: Partial<PartContext>): this {
    Object.assign(this.context, context);
    return this;
  }
  feed(happened: Happened, afterMs = 0): this {
    this.at += afterMs;
    this.last = stepHosting(this.state, { at: this.at, wallMs: 1, ...happened }, { ...this.context, at: this.at });
    this.state = this.last.state;
    return this;
  }
  tick = (afterMs = 0): this => this.feed({ kind: 'ticked' }, afterMs);
  hear = (from: string, message: PeerMessage, afterMs = 0): this =>
    this.feed({ kind: 'heard', from, message }, afterMs);
  sent<K extends PeerMessage['kind']>(kind: K): Extract<PeerMessage, { kind: K }>[] {
    const messages = this.last?.effects.flatMap((effect) => (effect.kind === 'send' ? [effect.message] : [])) ?? [];
    return messages.filter((one): one is Extract<PeerMessage, { kind: K }> => one.kind === kind);
  }
  effects<K extends 'hold-lease' | 'end-lease'>(kind: K): EffectOf<K>[] {
    return (this.last?.effects.filter((one) => one.kind === kind) ?? []) as EffectOf<K>[];
  }
  events = (): string[] => this.last?.effects.flatMap((one) => (one.kind === 'note' ? [one.event] : [])) ?? [];
}
const given = (nonce: string, epoch = 1): PeerMessage => ({ kind: 'lease-given', nonce, epoch, term: 4 });
const ask = (nonce: string, over: object = {}): PeerMessage => ({ kind: 'lease-ask', nonce, epoch: 1, data, ...over });

describe('the host (SAFETY H5, H8)', () => {
  it('asks every half second, and holds what it is given from its own time of asking on', () => {
    const host = new Part('D', 'K').tick();
    const [first] = host.sent('lease-ask');
    const askedAt = host.at;
    expect(first).toMatchObject({ epoch: 1, data });
    expect(host.last?.wakeAt).toBe(askedAt + renewMs);
    host.hear('K', given(first!.nonce), 300);
    expect(host.effects('hold-lease')).toEqual([{ kind: 'hold-lease', epoch: 1, data, until: askedAt + leaseMs }]);
    expect(host.events()).toEqual(['gitlab-lease-held']);
    host.tick(200);
    const [second] = host.sent('lease-ask');
    expect(second!.nonce).not.toBe(first!.nonce);
    host.hear('K', given(second!.nonce), 10);
    expect(host.effects('hold-lease')[0]?.until).toBe(askedAt + renewMs + leaseMs);
    expect(host.events()).toEqual([]);
    // Said twice, or late: never less than it has, and nothing for what it did not ask.
    for (const late of [given(second!.nonce), given(first!.nonce), given('another')])
      expect(host.hear('K', late, 1).effects('hold-lease')).toEqual([]);
  });

  it('takes no answer of one that it did not ask, of another epoch, or one that came when its time was over', () => {
    const host = new Part('D', 'K').tick();
    const { nonce } = host.sent('lease-ask')[0]!;
    expect(host.hear('E', given(nonce)).effects('hold-lease')).toEqual([]);
    expect(host.hear('K', given(nonce, 2)).effects('hold-lease')).toEqual([]);
    expect(host.hear('K', given(nonce), leaseMs).effects('hold-lease')).toEqual([]);
  });

  it('an agent that starts again trusts no lease, nor an answer to a question of its former life', () => {
    const host = new Part('D', 'K').tick();
    const { nonce } = host.sent('lease-ask')[0]!;
    host.hear('K', given(nonce), 5);
    const again = new Part('D', 'K');
    again.at = host.at;
    again.tick(30);
    expect(again.state.lease).toBeNull();
    expect(again.hear('K', given(nonce), 1).effects('hold-lease')).toEqual([]);
  });

  it('says once that its time is out, goes on asking whoever leads, and may serve again', () => {
    const host = new Part('D', 'K').tick();
    host.hear('K', given(host.sent('lease-ask')[0]!.nonce), 5);
    host.now({ leader: null });
    const outs: number[] = [];
    for (let ms = 0; ms < 6000; ms += 100) if (host.tick(100).events().includes('gitlab-lease-out')) outs.push(host.at);
    expect(outs).toEqual([104_005]);
    host.now({ leader: 'K' }).tick(renewMs);
    host.hear('K', given(host.sent('lease-ask')[0]!.nonce), 5);
    expect(host.effects('hold-lease')).toHaveLength(1);
  });

  it('asks no leader of a version that would choke on the question', () => {
    const older = hostingLedger();
    older.nodes.K = { ...older.nodes.K!, can: ['envelopes', 'disconnect'] };
    const host = new Part('D', 'K', older).tick();
    for (let ms = 0; ms < 3000; ms += 100) expect(host.tick(100).sent('lease-ask')).toEqual([]);
  });

  it.each([
    ['uninstalled', drained(hostingLedger())],
    ['of another host', hostingLedger({ host: 'K', epoch: 2 })],
    ['of another epoch', hostingLedger({ epoch: 2 })],
    ['gone', { ...hostingLedger(), gitlab: foundedMesh().gitlab }],
  ])(
    'the ledger says that it is %s: the gate is closed until it says so, and never opened for that epoch',
    (_, ledger) => {
      const host = new Part('D', 'K').tick();
      const { nonce } = host.sent('lease-ask')[0]!;
      host.hear('K', given(nonce), 5).tick(renewMs);
      const [open] = host.sent('lease-ask');
      host.now({ ledger, committed: ledger }).tick(10);
      expect(host.effects('end-lease')).toMatchObject([{ epoch: 1 }]);
      expect(host.events()).toEqual(['gitlab-lease-ended']);
      expect(host.hear('K', given(open!.nonce), 10).effects('hold-lease')).toEqual([]);
      expect(host.tick(endAgainMs).effects('end-lease')).toMatchObject([{ epoch: 1 }]);
      host.feed({ kind: 'gate-closed', epoch: 1 });
      expect(host.tick(5 * endAgainMs).effects('end-lease')).toEqual([]);
    },
  );

  it('drained before this agent ever held it: the gate is told all the same (SAFETY H7)', () => {
    const host = new Part('D', 'K', drained(hostingLedger())).tick();
    expect(host.effects('end-lease')).toMatchObject([{ epoch: 1 }]);
    expect(
      host
        .feed({ kind: 'gate-closed', epoch: 1 })
        .tick(5 * endAgainMs)
        .effects('end-lease'),
    ).toEqual([]);
  });
});

describe('the leader (SAFETY H5, H6)', () => {
  it('answers only when a round that was sent after the question came is answered by a quorum', () => {
    const leader = new Part('K', 'K').tick();
    leader.contactAt = leader.at;
    expect(leader.hear('D', ask('a')).sent('lease-given')).toEqual([]);
    leader.contactAt = leader.at;
    expect(leader.tick(40).sent('lease-given')).toEqual([]);
    leader.contactAt = leader.at;
    expect(leader.tick(40).sent('lease-given')).toEqual([{ kind: 'lease-given', nonce: 'a', epoch: 1, term: 4 }]);
    leader.contactAt = leader.at;
    expect(leader.tick(40).sent('lease-given')).toEqual([]);
  });

  it('nor in the same step of its clock: a round of that moment may have begun before', () => {
    const leader = new Part('K', 'K').hear('D', ask('a'));
    leader.contactAt = leader.at;
    expect(leader.tick(20).sent('lease-given')).toEqual([]);
  });

  it('of several questions the newest that is confirmed is answered', () => {
    const leader = new Part('K', 'K').hear('D', ask('a')).hear('D', ask('b'), renewMs);
    const between = leader.at + 10;
    leader.hear('D', ask('c'), renewMs);
    leader.contactAt = between;
    expect(leader.tick(1).sent('lease-given')).toMatchObject([{ nonce: 'b' }]);
    leader.contactAt = leader.at;
    expect(leader.tick(1).sent('lease-given')).toMatchObject([{ nonce: 'c' }]);
  });

  const elsewhere = hostingLedger({ host: 'K', epoch: 2 });
  it.each<[string, Partial<PartContext>]>([
    ['nothing of its term is committed yet', { mayAct: false }],
    ['it does not lead', { isLeader: false, mayAct: false }],
    ['another host is proposed', { ledger: elsewhere }],
    ['another host is not committed yet', { committed: elsewhere }],
    ['another epoch of the same host is proposed', { ledger: hostingLedger({ epoch: 2 }) }],
    ['it is being taken down', { ledger: drained(hostingLedger()) }],
    ['its host was removed', { ledger: { ...hostingLedger(), nodes: { K: hostingLedger().nodes.K! } } }],
    ['the mesh hosts none', { ledger: foundedMesh() }],
  ])('gives nothing while %s', (_, context) => {
    const leader = new Part('K', 'K').hear('D', ask('a'));
    leader.contactAt = leader.at + 10;
    expect(leader.now(context).tick(20).sent('lease-given')).toEqual([]);
  });

  it.each([
    ['another node', 'E', {}],
    ['another epoch', 'D', { epoch: 2 }],
    ['another data', 'D', { data: 'another1' }],
  ])('gives nothing to %s', (_, from, over) => {
    const leader = new Part('K', 'K').hear(from, ask('a', over));
    leader.contactAt = leader.at + 10;
    expect(leader.tick(20).sent('lease-given')).toEqual([]);
  });

  it('a question of a former reign, or of a former era, is answered in none', () => {
    for (const next of [{ term: 5 }, { isNewEra: true }]) {
      const leader = new Part('K', 'K').hear('D', ask('a'));
      leader.contactAt = leader.at + 10;
      expect(leader.now(next).tick(20).sent('lease-given')).toEqual([]);
    }
  });

  it('that is the host itself waits for the same round', () => {
    const both = new Part('D', 'D').tick();
    both.contactAt = both.at;
    expect(both.tick(10).effects('hold-lease')).toEqual([]);
    both.contactAt = both.at;
    expect(both.tick(10).effects('hold-lease')).toMatchObject([{ until: 100_000 + leaseMs }]);
  });

  it('a question that comes twice is one', () => {
    const leader = new Part('K', 'K').hear('D', ask('a')).hear('D', ask('a'), 20);
    expect(leader.state.lead!.asks).toHaveLength(1);
  });

  it('a host that asks faster than it is answered is remembered within bounds', () => {
    const leader = new Part('K', 'K');
    for (let n = 0; n < 1000; n += 1) leader.hear('D', ask(`n${n}`));
    expect(leader.state.lead!.asks.length).toBeLessThan(20);
  });

  it('nothing of it costs a mesh that hosts no GitLab', () => {
    const none = foundedMesh();
    const node = new Part('K', 'K', none).tick();
    const { state } = node;
    expect(node.last?.wakeAt).toBe(Number.POSITIVE_INFINITY);
    expect(node.tick(1000).state).toBe(state);
  });
});

describe('a host that was removed (SAFETY H7)', () => {
  const removed = (): Ledger => {
    const ledger = drained(hostingLedger());
    return { ...ledger, nodes: { K: ledger.nodes.K! } };
  };
  const endsAfter = (leader: Part): number => {
    const from = leader.at;
    for (let ms = 0; ms < 2 * waitMs; ms += 10) if (leader.tick(10).last!.edits.length > 0) return leader.at - from;
    return Number.POSITIVE_INFINITY;
  };

  it('is ended when every lease is surely out: since the own election, and since the last one given', () => {
    const elected = new Part('K', 'K', removed()).tick();
    expect(endsAfter(elected)).toBe(waitMs);
    expect(elected.last!.edits[0]!.apply(removed())).toMatchObject({ gitlab: { mode: 'none', epoch: 1 } });

    const giving = new Part('K', 'K').tick().hear('D', ask('a'), 3 * waitMs);
    giving.contactAt = giving.at + 5;
    expect(giving.tick(10).sent('lease-given')).toHaveLength(1);
    giving.now({ ledger: removed(), committed: removed() });
    expect(endsAfter(giving)).toBe(waitMs);
  });

  it('not before all of a former era have come over, and not while it is only proposed', () => {
    const unseen = {
      ...removed(),
      recovery: {
        by: 'K',
        at: 0,
        from: { era: foundedMesh().era, stamp: foundedMesh().stamp },
        off: [],
        unseen: ['K'],
      },
    };
    expect(endsAfter(new Part('K', 'K', unseen))).toBe(Number.POSITIVE_INFINITY);
    expect(endsAfter(new Part('K', 'K', removed()).now({ committed: hostingLedger() }))).toBe(Number.POSITIVE_INFINITY);
  });
});

describe('a machine to which GitLab moved, and which has not served (SAFETY H7)', () => {
  const graceMs = 3000;
  const trial = (): Ledger => {
    const ledger = hostingLedger();
    const at = { place: { kind: 'image', path: '/srv/gitlab' }, hostname: 'kang.lab' } as const;
    const base = { era: 0, epoch: 1, number: 7 };
    const move = { from: 'K', to: 'D', there: at, back: at, base, since: 0, because: 'asked' };
    const { gitlab, settings } = ledger;
    const hosted = { ...gitlab.hosted!, copies: firstCopies(['K']), move };
    return { ...ledger, settings: { ...settings, graceMs }, gitlab: { ...gitlab, epoch: 2, hosted } };
  };
  const backAfter = (leader: Part): number => {
    const from = leader.at;
    for (let ms = 0; ms < 4 * waitMs; ms += 10) if (leader.tick(10).last!.edits.length > 0) return leader.at - from;
    return Number.POSITIVE_INFINITY;
  };

  it('is taken back from once it asks for nothing: since the own election, the last lease, and since it was to host', () => {
    const elected = new Part('K', 'K', trial()).tick();
    expect(backAfter(elected)).toBe(waitMs + graceMs);
    const after = elected.last!.edits[0]!.apply(trial());
    expect(after).toMatchObject({ gitlab: { host: 'K', epoch: 3, hosted: { moved: { isDone: false } } } });

    const giving = new Part('K', 'K', trial()).tick().hear('D', ask('a', { epoch: 2 }), waitMs);
    giving.contactAt = giving.at + 5;
    expect(giving.tick(10).sent('lease-given')).toHaveLength(1);
    expect(backAfter(giving)).toBe(waitMs + graceMs);

    const known = new Part('K', 'K').tick().tick(5 * waitMs);
    known.now({ ledger: trial(), committed: trial() });
    expect(backAfter(known)).toBe(waitMs + graceMs + 10);
  });

  it('not once it stands, not while that is only proposed, and not before all of a former era have come over', () => {
    const { move: _over, ...stands } = trial().gitlab.hosted!;
    const done = { ...trial(), gitlab: { ...trial().gitlab, hosted: stands } };
    expect(backAfter(new Part('K', 'K', done))).toBe(Number.POSITIVE_INFINITY);
    expect(backAfter(new Part('K', 'K', trial()).now({ committed: hostingLedger() }))).toBe(Number.POSITIVE_INFINITY);
    // It is taken down there, which may take longer, and asks for nothing meanwhile.
    expect(backAfter(new Part('K', 'K', drained(trial())))).toBe(Number.POSITIVE_INFINITY);
    const { era, stamp } = foundedMesh();
    const recovery = { by: 'K', at: 0, from: { era, stamp }, off: [], unseen: ['K'] };
    expect(backAfter(new Part('K', 'K', { ...trial(), recovery }))).toBe(Number.POSITIVE_INFINITY);
  });
});
