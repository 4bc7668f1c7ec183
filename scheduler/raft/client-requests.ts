import type { AskedBy } from '../../protocol/audit.ts';
import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import type { NodeId } from '../../protocol/ids.ts';
import { abilities, type Ledger } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import type { MessageOf } from '../../protocol/messages.ts';
import { compareStamps } from '../../protocol/stamp.ts';
import { isRefusal } from '../ledger-edit.ts';
import { applyChange } from '../membership.ts';
import { find } from '../membership-names.ts';
import { doneSentence } from '../membership-sentence.ts';
import { note } from '../note.ts';
import { whyNot, withAct } from './acts.ts';
import { maxProposed, propose } from './proposal.ts';
import type { ClientRequest } from './raft-state.ts';
import { raftTimings } from './raft-timings.ts';
import { type RaftTurn, send } from './raft-turn.ts';
import { withAudit } from './who-did-what.ts';

/**
 * Changes of the ledger, asked by people and by nodes. Any member takes one, sends it to the leader, and asks again
 * until it is answered; the leader answers when it is committed, and the ledger remembers its id, so that asking twice
 * changes nothing (SAFETY L16).
 */
const maxClientRequests = 64;

export function hearRequested(turn: RaftTurn, id: string, change: Change, by?: AskedBy): void {
  const { raft } = turn;
  if (raft.clientRequests.some((one) => one.id === id)) return;
  if (raft.clientRequests.length >= maxClientRequests)
    return answerHere(turn, id, {
      state: 'refused',
      because: `${maxClientRequests} changes wait already: try again in a moment`,
    });
  if (raft.leaving)
    return answerHere(turn, id, { state: 'refused', because: 'this node leaves the mesh: ask another machine' });
  raft.clientRequests = [...raft.clientRequests, { ...neverSent, id, change, by, askedAt: turn.at, local: true }];
}

const neverSent = { sentAt: Number.NEGATIVE_INFINITY, sentTerm: Number.NEGATIVE_INFINITY };

/** A change that this node wants for itself. Its id is unique over restarts. */
export function requestChange(turn: RaftTurn, change: Change): void {
  const { raft, identity } = turn;
  const id = `${turn.self.slice(-16)}-${Math.floor(identity.startedAtWallMs)}-${raft.nextRequest}`;
  raft.nextRequest += 1;
  raft.clientRequests = [...raft.clientRequests, { ...neverSent, id, change, askedAt: turn.at, local: false }];
}

function answerHere(turn: RaftTurn, id: string, outcome: ChangeOutcome): void {
  turn.effects.push({ kind: 'answer', id, outcome });
}

/** Sends what is due, does what this node may do itself as leader, gives up what took too long. */
export function serveRequests(turn: RaftTurn): void {
  const { raft } = turn;
  if (raft.clientRequests.length === 0) return;
  const waits = new Set(raft.leading?.proposedRequests.map(({ id }) => id));
  for (const one of raft.clientRequests) {
    const asked = receiverOf(turn, one);
    if (turn.at - one.askedAt >= raftTimings.askForMs) {
      const because = raft.leader
        ? 'the leader did not answer in time: it may still happen, ask again'
        : 'no leader now: a majority of the voters is missing; it may still happen, ask again';
      answerRequest(turn, one.id, { state: 'unknown', because });
    } else if (raft.leading) {
      if (!waits.has(one.id)) proposeChange(turn, null, one.id, one.change, one.by);
    } else if (asked !== null && (one.sentTerm !== raft.term || turn.at - one.sentAt >= raftTimings.askAgainMs)) {
      const sent = { sentAt: turn.at, sentTerm: raft.term };
      raft.clientRequests = raft.clientRequests.map((other) => (other.id === one.id ? { ...other, ...sent } : other));
      send(turn, asked, { kind: 'change', id: one.id, change: one.change, ...(one.by ? { by: one.by } : {}) });
    }
  }
}

/**
 * Who is asked: the leader of the term; before there is one, whoever has this node's vote, which takes it along. Null also
 * where that one's version cannot read such a change: it would choke on it, and the next leader may be another.
 */
export function receiverOf({ raft, self }: RaftTurn, { change }: Pick<ClientRequest, 'change'>): NodeId | null {
  const node = raft.leader?.node ?? raft.votedFor;
  if (node === self || node === null) return null;
  const ability = abilityFor(change);
  return ability === undefined || raft.accepted.nodes[node]?.can?.includes(ability) ? node : null;
}

function abilityFor(change: Change): (typeof abilities)[number] | undefined {
  // An earlier version would deploy it for http, or by the name that is beside its address.
  if (change.kind === 'deploy-gitlab' && change.hosted.ipv6) return 'ipv6';
  if (change.kind === 'deploy-gitlab' && change.hosted.https) return 'https';
  // An earlier version would deploy it, and leave out whom a person named for copies.
  if (change.kind === 'deploy-gitlab' && (change.agreed ?? []).length > 0) return 'copies';
  // An earlier version would take the name of a machine for a folder's.
  if (change.kind === 'set-vault' && change.vault?.keeper !== undefined) return 'keep-vault';
  // An earlier version would run the image of now on data of before an upgrade.
  if (change.kind === 'gitlab-restored' && change.image !== undefined) return 'upgrade';
  // An earlier version would leave those out.
  if (change.kind === 'reseal' && change.notices !== undefined) return 'notices';
  if (change.kind === 'set' && (change.key === 'inSyncGraceMs' || change.key === 'failover')) return 'failover';
  return abilityOf[change.kind];
}

const abilityOf: Partial<Record<Change['kind'], (typeof abilities)[number]>> = {
  'deploy-gitlab': 'hosting',
  'gitlab-stands': 'hosting',
  'uninstall-gitlab': 'hosting',
  'gitlab-ended': 'hosting',
  'gitlab-certificate': 'https',
  'agree-copies': 'copies',
  'copies-begin': 'copies',
  'copy-enters': 'copies',
  'copies-leave': 'copies',
  'set-vault': 'vault',
  'gitlab-restored': 'vault',
  'upgrade-gitlab': 'upgrade',
  'gitlab-upgraded': 'upgrade',
  'gitlab-upgrade-ended': 'upgrade',
  'protect-gitlab': 'protect',
  'move-gitlab': 'move',
  'gitlab-moved': 'move',
  'gitlab-move-stands': 'move',
  'gitlab-move-ends': 'move',
  'start-gitlab-at': 'failover',
  'clear-gitlab-flag': 'failover',
  'notice-target': 'notices',
  'quiet-hours': 'notices',
  'notices-told': 'notices',
};

/** The request with this id is answered, and forgotten. */
function answerRequest(turn: RaftTurn, id: string, outcome: ChangeOutcome): void {
  const { raft } = turn;
  const one = raft.clientRequests.find((other) => other.id === id);
  if (!one) return;
  raft.clientRequests = raft.clientRequests.filter((other) => other.id !== id);
  if (one.local) answerHere(turn, id, outcome);
  else if (outcome.state === 'refused')
    note(turn, {
      event: 'change-refused',
      level: 'warn',
      because: outcome.because,
      fields: { change: one.change.kind },
    });
}

export function hearChangeAnswer(turn: RaftTurn, message: MessageOf<'change-answer'>): void {
  if (message.outcome.state !== 'unknown') answerRequest(turn, message.id, message.outcome);
}

/** A candidate keeps what its voters ask until it leads: it goes into the first ledger of its term. */
export function hearChange(turn: RaftTurn, from: NodeId, { id, change, by }: MessageOf<'change'>): void {
  const { raft } = turn;
  const { campaign } = raft;
  if (campaign?.kind !== 'vote') return proposeChange(turn, from, id, change, by);
  if (campaign.asked.length >= maxClientRequests || campaign.asked.some((one) => one.id === id)) return;
  raft.campaign = { ...campaign, asked: [...campaign.asked, { from, id, change, by }] };
}

/** The leader's part. `from` null: asked here. */
export function proposeChange(turn: RaftTurn, from: NodeId | null, id: string, change: Change, by?: AskedBy): void {
  const { raft } = turn;
  const answer = (outcome: ChangeOutcome): void => {
    if (from === null) answerRequest(turn, id, outcome);
    else send(turn, from, { kind: 'change-answer', id, outcome });
  };
  if (!raft.leading) return answer({ state: 'unknown', because: 'this node does not lead' });
  if (raft.leading.proposedRequests.some((one) => one.id === id)) return;
  if (from !== null && !Object.hasOwn(raft.accepted.nodes, from))
    return answer({ state: 'refused', because: 'only members of the mesh may change it' });
  const asker = from ?? turn.self;
  const refusal = whyNot(raft.accepted, change, asker);
  if (refusal !== null) return answer({ state: 'refused', because: refusal });
  const known = raft.accepted.requests.find((one) => one.id === id);
  if (known) {
    noteProposed(turn, { id, from, because: known.because });
    return answerCommitted(turn);
  }
  // Who asks keeps it, and asks the next leader at once.
  if (raft.leading.handover !== null) return;
  if (raft.leading.proposed.length >= maxProposed) {
    // What was asked here stays in its list, and is proposed when there is room again.
    if (from !== null) answer({ state: 'unknown', because: 'too many changes wait for a majority: ask again' });
    return;
  }
  const after = applyChange(raft.accepted, change, turn.wallMs);
  if (isRefusal(after)) return answer({ state: 'refused', because: after.refused });
  if (putsOff(turn, change)) return;
  const because = doneSentence(change, raft.accepted, after);
  // Also what changed nothing is committed with its id: only a leader that still leads may say that it is so.
  const changed = after !== raft.accepted;
  const acted = withAct(raft.accepted, after, change, asker, turn.wallMs);
  const audited = withAudit(acted, { change, by, changed, sentence: because, asker, wallMs: turn.wallMs });
  propose(turn, withRequest(audited, id, because, raft.leading.settled));
  raft.leading = { ...raft.leading, settled: [] };
  noteProposed(turn, { id, from, because });
}

/**
 * A leader that removed itself would be a stranger to all before it could ask one of them to lead: they would wait for their long
 * timeout. So it hands over first, and the next one removes it; what cannot be handed over is removed as it leads.
 */
function putsOff({ raft, self }: RaftTurn, change: Change): boolean {
  if (raft.leading === null || raft.leading.unwanted === 'tried') return false;
  if (change.kind !== 'forget' || find(raft.accepted.nodes, change.node) !== self) return false;
  raft.leading = { ...raft.leading, unwanted: 'asked' };
  return true;
}

/** The ledger remembers the last requests that were done, but for those that nobody can ask again (SAFETY L16). */
export const withRequest = (ledger: Ledger, id: string, because: string, settled: readonly string[] = []): Ledger => {
  const known = settled.length === 0 ? ledger.requests : ledger.requests.filter((one) => !settled.includes(one.id));
  return { ...ledger, requests: [...known, { id, because }].slice(-limits.rememberedRequests) };
};

function noteProposed(turn: RaftTurn, one: { id: string; from: NodeId | null; because: string }): void {
  const { raft } = turn;
  const { leading } = raft;
  if (!leading) return;
  raft.leading = {
    ...leading,
    proposedRequests: [...leading.proposedRequests, { ...one, stamp: raft.accepted.stamp }],
  };
}

/**
 * Asked here, and of nobody else: with its answer the last who knew its id forgets it, so nobody can ask it again. What is
 * asked of a leader one after the other would otherwise fill the ledger with ids, which made it seven times as long.
 */
function knownHereOnly({ raft }: RaftTurn, ready: readonly { id: string; from: NodeId | null }[]): string[] {
  return ready.flatMap(({ id, from }) => {
    const asked = raft.clientRequests.find((one) => one.id === id);
    return from === null && asked?.sentTerm === neverSent.sentTerm ? [id] : [];
  });
}

/** Whoever waits for what is committed now gets the answer. */
export function answerCommitted(turn: RaftTurn): void {
  const { raft } = turn;
  const stamp = raft.committed?.stamp;
  if (!stamp) return;
  if (raft.leading && raft.leading.proposedRequests.length > 0) {
    const ready = raft.leading.proposedRequests.filter((one) => compareStamps(one.stamp, stamp) <= 0);
    if (ready.length > 0)
      raft.leading = {
        ...raft.leading,
        proposedRequests: raft.leading.proposedRequests.filter((one) => !ready.includes(one)),
        settled: [...raft.leading.settled, ...knownHereOnly(turn, ready)],
      };
    for (const { id, from, because } of ready) {
      if (from === null) answerRequest(turn, id, { state: 'done', because });
      else send(turn, from, { kind: 'change-answer', id, outcome: { state: 'done', because } });
    }
  }
  if (raft.clientRequests.length === 0) return;
  const known = new Map(raft.committed?.requests.map(({ id, because }) => [id, because]));
  for (const { id } of raft.clientRequests) {
    const because = known.get(id);
    if (because !== undefined) answerRequest(turn, id, { state: 'done', because });
  }
}

/** What the mesh has of this node is not what is true: say so, not more than once a second. */
export function introduce(turn: RaftTurn): void {
  const { raft, identity } = turn;
  const me = raft.committed?.nodes[turn.self];
  if (!raft.committed || !me || raft.leaving || turn.at - raft.introducedAt < 1000) return;
  if (raft.clientRequests.some((one) => one.change.kind === 'introduce')) return;
  const addresses = [...(raft.addresses ?? me.addresses)].slice(0, limits.addresses);
  const { name, store } = identity;
  const known = { kind: 'introduce', node: turn.self, name, store, addresses, witness: me.witness } as const;
  const change: Change = { ...known, can: [...abilities] };
  const after = applyChange(raft.committed, change, turn.wallMs);
  if (isRefusal(after) || after === raft.committed) return;
  const isOnlyThat = applyChange(raft.committed, { ...known, can: me.can }, turn.wallMs) === raft.committed;
  if (isOnlyThat && raft.introducedTerm === raft.term) return;
  if (isOnlyThat) raft.introducedTerm = raft.term;
  raft.introducedAt = turn.at;
  requestChange(turn, change);
}
