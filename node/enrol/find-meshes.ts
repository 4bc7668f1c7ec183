import type { NodeId } from '../../protocol/ids.ts';
import type { EnrolDoor } from '../network/enrol-door.ts';
import { commitmentTo, newNonce } from './enrol-proofs.ts';

/** A mesh of the LAN and one of its members to knock at. */
export interface FoundMesh {
  meshId: string;
  meshName: string;
  member: NodeId;
  memberName: string;
  addresses: string[];
}

const stepMs = 3000;
const pollMs = 25;
/** Between two questions to a node that is in no mesh yet: it may be founding one at this moment. */
const againMs = { first: 100, most: 1500 };

/**
 * Asks every stranger in sight, for `ms`, which mesh it is in: a knock that is never opened, so that nothing is shown
 * to anybody. Returns earlier when `enough` says so, or after `quietMs` when nobody in sight owes a first answer.
 * Several members of one mesh are several entries. Never throws.
 */
export async function findMeshes(
  door: EnrolDoor,
  ms: number,
  enough: (found: FoundMesh[]) => boolean = () => false,
  quietMs = ms,
): Promise<FoundMesh[]> {
  const found: FoundMesh[] = [];
  /** Until when a node is not asked again: for good once it has answered. */
  const notBefore = new Map<NodeId, number>();
  const waits = new Map<NodeId, number>();
  const began = Date.now();
  const isQuiet = (): boolean => Date.now() - began >= quietMs && waits.size === notBefore.size;
  door.lookAround();
  while (Date.now() - began < ms && !enough(found) && !isQuiet()) {
    for (const stranger of door.strangers()) {
      if (Date.now() < (notBefore.get(stranger.node) ?? 0)) continue;
      notBefore.set(stranger.node, Number.POSITIVE_INFINITY);
      void askMesh(door, stranger).then((mesh) => {
        const wait = waits.get(stranger.node) ?? againMs.first;
        waits.set(stranger.node, Math.min(1.5 * wait, againMs.most));
        if (mesh) found.push(mesh);
        else notBefore.set(stranger.node, Date.now() + wait);
      });
    }
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
  return found;
}

async function askMesh(door: EnrolDoor, stranger: { node: NodeId; addresses: string[] }): Promise<FoundMesh | null> {
  try {
    const channel = await door.openEnrol(stranger, stepMs);
    try {
      channel.send({
        kind: 'knock',
        v: 1,
        name: 'somebody',
        store: 'none',
        commitment: commitmentTo(newNonce()),
        addresses: [],
        witness: false,
      });
      const mesh = await channel.next(stepMs);
      if (mesh?.kind !== 'mesh') return null;
      const { meshId, meshName, member } = mesh;
      return { meshId, meshName, member: channel.remote, memberName: member, addresses: stranger.addresses };
    } finally {
      channel.close('asked');
    }
  } catch {
    return null;
  }
}
