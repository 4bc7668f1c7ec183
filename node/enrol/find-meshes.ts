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
const pollMs = 50;
const againMs = 1500;

/**
 * Asks every stranger in sight, for `ms`, which mesh it is in: a knock that is never opened, so that nothing is shown
 * to anybody. Returns earlier when `enough` says so. Several members of one mesh are several entries. Never throws.
 */
export async function findMeshes(
  door: EnrolDoor,
  ms: number,
  enough: (found: FoundMesh[]) => boolean = () => false,
): Promise<FoundMesh[]> {
  const found: FoundMesh[] = [];
  /** Until when a node is not asked again: for good once it has answered. */
  const notBefore = new Map<NodeId, number>();
  const deadline = Date.now() + ms;
  door.lookAround();
  while (Date.now() < deadline && !enough(found)) {
    for (const stranger of door.strangers()) {
      if (Date.now() < (notBefore.get(stranger.node) ?? 0)) continue;
      notBefore.set(stranger.node, Number.POSITIVE_INFINITY);
      void askMesh(door, stranger).then((mesh) => {
        if (mesh) found.push(mesh);
        else notBefore.set(stranger.node, Date.now() + againMs);
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
