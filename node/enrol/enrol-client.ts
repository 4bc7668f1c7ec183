import type { EnrolMessage, EnrolMessageOf } from '../../protocol/enrol-messages.ts';
import { sentenceOf } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { EnrolChannel, EnrolDoor } from '../network/enrol-door.ts';
import { commitmentTo, inviteProof, isSame, type Meeting, meetingWords, newNonce } from './enrol-proofs.ts';
import type { InviteCode } from './invite-code.ts';

/** ms for each step that needs no person. */
const stepMs = 10_000;
/** A member that waits for its person says so every 10 s; this long without a word means that it is gone. */
const quietMs = 30_000;

export interface Newcomer {
  name: string;
  store: string;
  witness: boolean;
  invite: InviteCode | null;
}

export interface KnockEvents {
  /** The words to show, and the mesh that is asked. */
  words(words: string, mesh: { id: string; name: string; member: string }): void;
  /** Nothing is decided yet; the sentence says what it waits for. */
  pending(because: string): void;
}

/** `lost`: the member went away or broke the rules: knock at another one, or again later. */
export type EnrolOutcome =
  | { kind: 'approved'; because: string; ledger: Ledger; meshKey: string }
  | { kind: 'refused'; because: string }
  | { kind: 'lost'; because: string };

/**
 * The newcomer's side of one enrolment with one member (protocol/enrol-messages.ts). Waits for a person as long as the
 * member does, at most 15 minutes; `signal` ends it. Never throws.
 */
export async function enrol(
  door: EnrolDoor,
  candidate: { node: NodeId; addresses: string[] },
  newcomer: Newcomer,
  events: KnockEvents,
  signal?: AbortSignal,
): Promise<EnrolOutcome> {
  let channel: EnrolChannel | null = null;
  const stop = (): void => channel?.close('gave up');
  try {
    channel = await door.openEnrol(candidate, stepMs);
    if (signal?.aborted) return { kind: 'lost', because: 'gave up' };
    signal?.addEventListener('abort', stop);
    return await converse(door, channel, newcomer, events);
  } catch (error) {
    return { kind: 'lost', because: sentenceOf(error) };
  } finally {
    signal?.removeEventListener('abort', stop);
    channel?.close('done');
  }
}

async function converse(
  door: EnrolDoor,
  channel: EnrolChannel,
  newcomer: Newcomer,
  events: KnockEvents,
): Promise<EnrolOutcome> {
  const nonce = newNonce();
  channel.send({
    kind: 'knock',
    v: 1,
    name: newcomer.name,
    store: newcomer.store,
    commitment: commitmentTo(nonce),
    addresses: door.addresses(),
    witness: newcomer.witness,
  });
  const mesh = await channel.next(stepMs);
  if (mesh?.kind === 'refused') return mesh;
  if (mesh?.kind !== 'mesh') return lost(channel, mesh);
  const meeting: Meeting = {
    newcomer: door.self,
    member: channel.remote,
    newcomerNonce: nonce,
    memberNonce: mesh.nonce,
  };
  const { invite } = newcomer;
  events.words(meetingWords(meeting), { id: mesh.meshId, name: mesh.meshName, member: mesh.member });
  channel.send({
    kind: 'reveal',
    nonce,
    invite: invite ? { id: invite.id, proof: inviteProof(invite.secret, 'newcomer', meeting) } : null,
  });
  for (;;) {
    const message = await channel.next(quietMs);
    if (message?.kind === 'refused') return { kind: 'refused', because: message.because };
    if (message?.kind === 'approved') return checkApproval(message, mesh, meeting, invite);
    if (message?.kind !== 'pending') return lost(channel, message);
    events.pending(message.because);
  }
}

/** A member that approves must be in the ledger that it hands over, and know the invite where there is one. */
function checkApproval(
  approved: EnrolMessageOf<'approved'>,
  mesh: EnrolMessageOf<'mesh'>,
  meeting: Meeting,
  invite: InviteCode | null,
): EnrolOutcome {
  const { ledger } = approved;
  const wrong = (because: string): EnrolOutcome => ({
    kind: 'refused',
    because: `${mesh.member} approved, but ${because}: do not trust it`,
  });
  if (invite && !(approved.proof && isSame(approved.proof, inviteProof(invite.secret, 'member', meeting))))
    return wrong('cannot prove that it knows the invite');
  if (approved.self !== meeting.newcomer || !(meeting.newcomer in ledger.nodes))
    return wrong('its ledger does not list this machine');
  if (!(meeting.member in ledger.nodes) || ledger.mesh.id !== mesh.meshId)
    return wrong('its ledger is that of another mesh');
  return { kind: 'approved', because: approved.because, ledger, meshKey: approved.meshKey };
}

const lost = (channel: EnrolChannel, message: EnrolMessage | null): EnrolOutcome => ({
  kind: 'lost',
  because: message
    ? `it said ${message.kind} out of turn`
    : `it does not answer any more: ${channel.ended ?? 'no word in time'}`,
});
