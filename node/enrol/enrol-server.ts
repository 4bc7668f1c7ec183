import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import type { EnrolMessage, EnrolMessageOf } from '../../protocol/enrol-messages.ts';
import { sentenceOf } from '../../protocol/errors.ts';
import { asSentence, type NodeId } from '../../protocol/ids.ts';
import type { Ledger, OpenApproval } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import type { Sealed } from '../../protocol/sealed.ts';
import type { EnrolChannel, EnrolDoor } from '../network/enrol-door.ts';
import type { NetworkLog } from '../network/network-log.ts';
import { SourceRates } from '../source-rates.ts';
import { enrolLimits } from './enrol-limits.ts';
import { inviteProof, isSame, type Meeting, meetingWords, newNonce, opensCommitment } from './enrol-proofs.ts';
import type { Farewell } from './membership-question.ts';

interface EnrolServerOptions {
  door: EnrolDoor;
  /** Asks the mesh for a change and waits until it is committed or refused. May reject: then it counts as unknown. */
  change(change: Change): Promise<ChangeOutcome>;
  /** The mesh key in hex, 32 bytes: handed over at approval. */
  meshKey(): string;
  /** Opens a sealed secret of the ledger. Throws when it cannot. */
  unseal(sealed: Sealed): string;
  /** ms since the Unix epoch. */
  wallMs(): number;
  log: NetworkLog;
}

type Knock = EnrolMessageOf<'knock'>;
type Reveal = EnrolMessageOf<'reveal'>;

/** One newcomer whom this server knows. */
interface Session {
  channel: EnrolChannel;
  /** The secret of a checked invite: `approved` must prove that we know it. */
  secret: string | null;
  meeting: Meeting | null;
  /** It stands in the ledger's approvals because of us. */
  isOpen: boolean;
  /** Its answer was given; nothing more is said. */
  isDone: boolean;
}

/**
 * The member's side of enrolment. Life of a knock: mesh and nonce -> reveal -> let in at once (invite, pair window,
 * already approved) or `open-approval`, then pending until the ledger says approved, ignored or forgotten, the newcomer
 * goes, or 15 minutes are over. The ledger is the only truth: whoever approves does it there, on any node.
 *
 * Call `onLedger` with every committed ledger, after `Network.setLedger`, so that the newcomer may connect at once.
 */
export class EnrolServer {
  #options: EnrolServerOptions;
  #ledger: Ledger | null = null;
  #sessions = new Map<NodeId, Session>();
  #rate = new SourceRates(enrolLimits);
  #atOnce = new Map<string, number>();
  /** Words of entries that are being closed. */
  #closing = new Set<string>();
  /** Words of entries that other machines opened, with when they were first seen here, monotonic ms. */
  #seenAt = new Map<string, number>();
  #pulse: NodeJS.Timeout;

  constructor(options: EnrolServerOptions) {
    this.#options = options;
    this.#pulse = setInterval(() => this.#sendPulse(), enrolLimits.pulseMs);
    this.#pulse.unref();
  }

  onLedger(ledger: Ledger | null): void {
    this.#ledger = ledger && this.#options.door.self in ledger.nodes ? ledger : null;
    this.#options.door.onEnrol(this.#ledger ? (channel) => void this.#receive(channel) : null);
    for (const [node, session] of this.#sessions) this.#settleSafely(node, session);
    this.#sweepApprovals();
  }

  close(): void {
    clearInterval(this.#pulse);
    this.#options.door.onEnrol(null);
    for (const session of this.#sessions.values()) session.channel.close('this agent stops');
  }

  async #receive(channel: EnrolChannel): Promise<void> {
    const open = [...this.#atOnce.values()].reduce((sum, one) => sum + one, 0);
    const fromThere = this.#atOnce.get(channel.address) ?? 0;
    const isTooMuch = open >= enrolLimits.atOnce || fromThere >= enrolLimits.atOncePerAddress;
    if (isTooMuch || !this.#rate.take(channel.address, performance.now())) {
      this.#options.log.debug({ event: 'knock-limited', node: channel.remote }, 'too many knocks');
      return this.#refuse(channel, 'too many machines knock here at the moment: try again in a minute');
    }
    this.#atOnce.set(channel.address, fromThere + 1);
    channel.onEnd(() => {
      const left = (this.#atOnce.get(channel.address) ?? 1) - 1;
      if (left > 0) this.#atOnce.set(channel.address, left);
      else this.#atOnce.delete(channel.address);
    });
    try {
      await this.#converse(channel);
    } catch (error) {
      this.#options.log.warn(
        { event: 'enrol-failed', node: channel.remote, because: sentenceOf(error) },
        `the enrolment of ${channel.remote} failed: ${sentenceOf(error)}`,
      );
      this.#refuse(channel, 'this agent could not handle it: try again');
    }
  }

  async #converse(channel: EnrolChannel): Promise<void> {
    const knock = await channel.next(enrolLimits.idleMs);
    if (!knock) return channel.close('no word came');
    if (knock.kind !== 'knock') return this.#refuse(channel, `an enrolment begins with knock, not ${knock.kind}`);
    const ledger = this.#ledger;
    if (!ledger) return this.#refuse(channel, 'this agent is in no mesh yet');
    const { remote: node } = channel;
    // One that does not know it yet; one that does asks like any newcomer, and a person decides.
    if (knock.memberOf !== undefined && Object.hasOwn(ledger.forgotten, node) && !Object.hasOwn(ledger.nodes, node))
      return this.#refuse(
        channel,
        `this machine was removed from the mesh ${ledger.mesh.name}`,
        farewell(ledger, node),
      );
    const session: Session = { channel, secret: null, meeting: null, isOpen: false, isDone: false };
    const nonce = newNonce();
    const member = ledger.nodes[this.#options.door.self]?.name ?? '';
    channel.send({
      kind: 'mesh',
      v: 1,
      meshId: ledger.mesh.id,
      meshName: ledger.mesh.name,
      member,
      nonce,
    });
    const reveal = await channel.next(enrolLimits.idleMs);
    if (!reveal) return channel.close('it only asked');
    if (reveal.kind !== 'reveal') return this.#refuse(channel, `after mesh comes reveal, not ${reveal.kind}`);
    if (!opensCommitment(reveal.nonce, knock.commitment))
      return this.#refuse(channel, 'the nonce is not the one that was promised');
    this.#replace(node, session);
    session.meeting = {
      newcomer: node,
      member: this.#options.door.self,
      newcomerNonce: reveal.nonce,
      memberNonce: nonce,
    };
    await this.#admit(session, knock, reveal);
  }

  /** Decides which way in it is. */
  async #admit(session: Session, knock: Knock, reveal: Reveal): Promise<void> {
    const { channel } = session;
    const { remote: node } = channel;
    const ledger = this.#ledger;
    if (!ledger || !session.meeting) return this.#refuse(channel, 'this agent has left its mesh');
    if (reveal.invite) {
      const checked = this.#checkInvite(ledger, reveal.invite, session.meeting);
      if ('refused' in checked) return this.#refuse(channel, checked.refused);
      session.secret = checked.secret;
    }
    if (node in ledger.nodes) return this.#settle(node, session);
    const approval = this.#approval(channel, knock, session.meeting);
    if (reveal.invite) {
      const change: Change = { kind: 'approve-invited', node, approval, invite: reveal.invite.id };
      return this.#letIn(session, change, 'the invite is good');
    }
    const isPairing = this.#options.wallMs() < ledger.pairUntil && this.#options.door.isOnOwnLan(channel.address);
    if (isPairing) return this.#letIn(session, { kind: 'approve-paired', node, approval }, 'the pair window is open');
    if (ledger.approvals[node]?.ignored)
      return this.#refuse(
        channel,
        `a person ignored this machine; on an approved one: autogit-node approve ${knock.name}`,
      );
    const waiting = Object.entries(ledger.approvals).filter(([one, { ignored }]) => one !== node && !ignored);
    if (waiting.length >= limits.openApprovals)
      return this.#refuse(
        channel,
        `${waiting.length} machines wait for approval already: approve or ignore some first`,
      );
    session.isOpen = true;
    await this.#letIn(session, { kind: 'open-approval', node, approval }, pendingSentence(ledger, approval));
  }

  /** Asks for the change; the ledger that follows from it settles the session. */
  async #letIn(session: Session, change: Change, pending: string): Promise<void> {
    const { channel } = session;
    const { remote: node } = channel;
    this.#say(channel, { kind: 'pending', because: asSentence(pending) });
    this.#watchEnd(session);
    let outcome: ChangeOutcome = { state: 'unknown', because: 'nobody answered' };
    for (let attempt = 0; attempt < 3 && outcome.state === 'unknown' && !channel.ended; attempt++)
      outcome = await this.#options
        .change(change)
        .catch((error: unknown) => ({ state: 'unknown' as const, because: sentenceOf(error) }));
    if (outcome.state !== 'done') {
      session.isOpen = false;
      const because = `the mesh did not take it up: ${outcome.because}`;
      // Without a leader nobody has said no: the newcomer knocks again.
      if (outcome.state === 'unknown') channel.close(because);
      else if (!session.isDone) this.#refuse(channel, because);
    } else if (channel.ended) this.#sweepApprovals();
    else this.#settle(node, session);
  }

  /** One newcomer that cannot be answered (mesh key unreadable, ledger over the limit) must not stop the agent. */
  #settleSafely(node: NodeId, session: Session): void {
    try {
      this.#settle(node, session);
    } catch (error) {
      const because = sentenceOf(error);
      const name = this.#ledger?.approvals[node]?.name ?? node;
      this.#options.log.error({ event: 'enrol-failed', node, because }, `${name} could not be answered: ${because}`);
      session.channel.close(because);
    }
  }

  /** Answers a newcomer by what the ledger says about it now. */
  #settle(node: NodeId, session: Session): void {
    const { channel, meeting } = session;
    const ledger = this.#ledger;
    if (session.isDone || !meeting || channel.ended) return;
    if (!ledger) return this.#refuse(channel, 'this agent has left its mesh');
    const entry = ledger.nodes[node];
    if (entry) return this.#approve(node, session, ledger, entry.because);
    if (!session.isOpen) return;
    const approval = ledger.approvals[node];
    if (approval?.ignored) this.#finish(session, 'a person ignored this machine');
    else if (approval && approval.via !== this.#options.door.self)
      this.#finish(session, 'it knocked at another machine since');
  }

  #approve(node: NodeId, session: Session, ledger: Ledger, because: string): void {
    const { channel, meeting, secret } = session;
    session.isDone = true;
    session.isOpen = false;
    this.#say(channel, {
      kind: 'approved',
      because,
      ledger,
      meshKey: this.#options.meshKey(),
      proof: secret && meeting ? inviteProof(secret, 'member', meeting) : null,
      self: node,
    });
    const name = ledger.nodes[node]?.name ?? node;
    this.#options.log.info({ event: 'enrol-done', node }, `${name} was let in: ${because}`);
    // The newcomer closes when it has read it all; a ledger may take a while on a slow line.
    setTimeout(() => channel.close('approved'), enrolLimits.idleMs).unref();
  }

  #finish(session: Session, because: string): void {
    session.isOpen = false;
    session.isDone = true;
    this.#refuse(session.channel, because);
  }

  /** A newcomer that goes, or waits too long, is taken off the list again. */
  #watchEnd(session: Session): void {
    const timer = setTimeout(() => {
      if (session.isDone) return;
      session.isDone = true;
      this.#refuse(session.channel, 'nobody approved it in 15 minutes: knock again');
    }, enrolLimits.pendingMs);
    timer.unref();
    session.channel.onEnd(() => {
      clearTimeout(timer);
      this.#sweepApprovals();
    });
  }

  /**
   * Takes entries off the ledger that no conversation stands behind any more: ours whose newcomer went (also before our
   * own restart), and anybody's that are long over time, since the machine that opened them may be gone. Their time is
   * counted from when they were first seen here: two machines' clocks may differ by more than it. What a person ignored
   * stays, so that it is not asked again.
   */
  #sweepApprovals(): void {
    const now = performance.now();
    const before = this.#seenAt;
    this.#seenAt = new Map();
    for (const [node, approval] of Object.entries(this.#ledger?.approvals ?? {})) {
      const { meeting, channel } = this.#sessions.get(node) ?? {};
      const isHere = meeting && !channel?.ended && meetingWords(meeting) === approval.words;
      const seenAt = before.get(approval.words) ?? now;
      this.#seenAt.set(approval.words, seenAt);
      const isOver = now - seenAt > enrolLimits.pendingMs + enrolLimits.idleMs;
      const isAbandoned = approval.via === this.#options.door.self ? !isHere : isOver;
      if (approval.ignored || !isAbandoned || this.#closing.has(approval.words)) continue;
      this.#closing.add(approval.words);
      this.#options
        .change({ kind: 'close-approval', node })
        .catch((error: unknown) => this.#options.log.warn({ event: 'close-approval-failed', node }, sentenceOf(error)))
        .finally(() => this.#closing.delete(approval.words));
    }
  }

  /** The same newcomer knocks again: the older conversation is over, without a trace. However one ends, it is let go. */
  #replace(node: NodeId, session: Session): void {
    const old = this.#sessions.get(node);
    this.#sessions.set(node, session);
    session.channel.onEnd(() => {
      if (this.#sessions.get(node) === session) this.#sessions.delete(node);
    });
    if (!old) return;
    old.isDone = true;
    old.isOpen = false;
    this.#refuse(old.channel, 'it knocked again since');
  }

  #approval(channel: EnrolChannel, knock: Knock, meeting: Meeting): OpenApproval {
    return {
      name: knock.name,
      address: channel.address,
      words: meetingWords(meeting),
      since: this.#options.wallMs(),
      via: this.#options.door.self,
      store: knock.store,
      addresses: knock.addresses,
      witness: knock.witness,
      ignored: false,
    };
  }

  #checkInvite(
    ledger: Ledger,
    claim: { id: string; proof: string },
    meeting: Meeting,
  ): { secret: string } | { refused: string } {
    // A stranger chose this key: `constructor` must not be found.
    const invite = Object.hasOwn(ledger.invites, claim.id) ? ledger.invites[claim.id] : undefined;
    const fresh = 'get a fresh one on an approved machine: autogit-node invite';
    if (!invite) return { refused: `this invite is not known: used, expired or of another mesh; ${fresh}` };
    if (this.#options.wallMs() >= invite.expiresAt) return { refused: `this invite has expired; ${fresh}` };
    const secret = this.#options.unseal(invite.code);
    if (!isSame(claim.proof, inviteProof(secret, 'newcomer', meeting)))
      return { refused: `the invite code is wrong: look for a typing mistake, or ${fresh}` };
    return { secret };
  }

  #sendPulse(): void {
    this.#sweepApprovals();
    for (const { channel, isDone, meeting } of this.#sessions.values())
      if (!isDone && meeting && !channel.ended) this.#say(channel, { kind: 'pending', because: 'waits for approval' });
  }

  #say(channel: EnrolChannel, message: EnrolMessage): void {
    if (!channel.ended) channel.send(message);
  }

  #refuse(channel: EnrolChannel, because: string, forgotten?: Farewell): void {
    const why = asSentence(because);
    this.#say(channel, { kind: 'refused', because: why, ...(forgotten ? { forgotten } : {}) });
    channel.close(because);
  }
}

const farewell = ({ mesh, forgotten, forgottenBy, era, stamp }: Ledger, node: NodeId): Farewell => ({
  meshId: mesh.id,
  at: forgotten[node] ?? 0,
  by: forgottenBy?.[node] ?? null,
  era,
  stamp,
});

const pendingSentence = (ledger: Ledger, approval: OpenApproval): string =>
  `waits for approval by the mesh ${ledger.mesh.name}; on any of its machines: autogit-node approve ${approval.name} --words ${approval.words}`;
