import { performance } from 'node:perf_hooks';
import type { NodeId } from '../../protocol/ids.ts';
import type { EnrolDoor, Stranger } from '../network/enrol-door.ts';
import type { MeshHint } from '../network/stranger-list.ts';
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

/** Questions at a time: each is a handshake, and a large mesh would keep a small machine busy until all run out of time. */
const atOnce = 4;

/** What is known of one stranger's answer. */
interface Asked {
  mesh: MeshHint;
  /** Monotonic ms before which it is not asked (again). */
  notBefore: number;
  waitMs: number;
  /** It has not answered for the first time, and does not say that it is in no mesh. */
  owesAnswer: boolean;
}

/**
 * Asks every stranger in sight, for `ms`, which mesh it is in: a knock that is never opened, so that nothing is shown
 * to anybody. One that says by mDNS that it is in none is believed for a while, and asked at once when it says
 * otherwise. Returns earlier when `enough` says so, or, for who founds, when the LAN has been asked for `quietMs` and
 * nobody in sight owes a first answer. Several members of one mesh are several entries. Never throws.
 */
export async function findMeshes(
  door: EnrolDoor,
  ms: number,
  enough: (found: FoundMesh[]) => boolean = () => false,
  quietMs = Number.POSITIVE_INFINITY,
): Promise<FoundMesh[]> {
  const found: FoundMesh[] = [];
  const known = new Map<NodeId, Asked>();
  let open = 0;
  const began = performance.now();
  const since = Math.min(began, door.lookingSince);
  let wake = (): void => {};
  const pause = (): Promise<void> =>
    new Promise((resolve) => {
      wake = resolve;
      void door.strangersChange(pollMs).then(resolve);
    });
  const isQuiet = (): boolean =>
    performance.now() - since >= quietMs && door.strangers().every((one) => !askedOf(known, one).owesAnswer);
  door.lookAround();
  while (performance.now() - began < ms && !enough(found) && !isQuiet()) {
    for (const stranger of door.strangers()) {
      const asked = askedOf(known, stranger);
      if (performance.now() < asked.notBefore || open >= atOnce) continue;
      open += 1;
      asked.notBefore = Number.POSITIVE_INFINITY;
      void askMesh(door, stranger).then((mesh) => {
        open -= 1;
        asked.owesAnswer = false;
        asked.waitMs = Math.min(1.5 * asked.waitMs, againMs.most);
        if (mesh) found.push(mesh);
        else asked.notBefore = performance.now() + asked.waitMs;
        wake();
      });
    }
    await pause();
  }
  return found;
}

/** A node that says that it is in no mesh is asked for the first time after a while: the saying may be old. */
function askedOf(known: Map<NodeId, Asked>, { node, mesh }: Stranger): Asked {
  const before = known.get(node);
  if (before && (before.mesh === mesh || before.notBefore === Number.POSITIVE_INFINITY)) return before;
  const notBefore = mesh === null ? performance.now() + againMs.most : 0;
  const asked = { mesh, notBefore, waitMs: againMs.first, owesAnswer: mesh !== null };
  known.set(node, asked);
  return asked;
}

/** One question to one agent; null when it is in no mesh, or does not answer. Never throws. */
export async function askMesh(door: Pick<EnrolDoor, 'openEnrol'>, stranger: Stranger): Promise<FoundMesh | null> {
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
