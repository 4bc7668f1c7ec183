import type { EnrolMessageOf } from '../../protocol/enrol-messages.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { EnrolDoor } from '../network/enrol-door.ts';
import { commitmentTo, newNonce } from './enrol-proofs.ts';

export type Farewell = NonNullable<EnrolMessageOf<'refused'>['forgotten']>;

const stepMs = 3000;

/**
 * Asks a member of the own mesh, at the enrol door, whether this machine was removed: a knock that says "I take myself
 * for a member" and is never opened, so that nobody is asked about it. Null: it does not say so, or does not answer.
 * Never throws.
 */
export async function askMembership(
  door: EnrolDoor,
  member: { node: NodeId; addresses: string[] },
  me: { name: string; meshId: string },
): Promise<Farewell | null> {
  try {
    const channel = await door.openEnrol(member, stepMs);
    try {
      channel.send({
        kind: 'knock',
        v: 1,
        name: me.name,
        store: 'none',
        commitment: commitmentTo(newNonce()),
        addresses: [],
        witness: false,
        memberOf: me.meshId,
      });
      const answer = await channel.next(stepMs);
      return answer?.kind === 'refused' ? (answer.forgotten ?? null) : null;
    } finally {
      channel.close('asked');
    }
  } catch {
    return null;
  }
}
