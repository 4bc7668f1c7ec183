import type { Ledger } from '../../protocol/ledger.ts';
import type { Attention } from '../../protocol/status.ts';
import { askMesh } from '../enrol/find-meshes.ts';
import { shown } from '../foreign-text.ts';
import type { EnrolDoor, Stranger } from '../network/enrol-door.ts';

/** A mesh of this LAN that is not ours. */
export interface OtherMesh {
  id: string;
  name: string;
  /** The member that told its name. */
  member: string;
  /** Agents in sight that say to be in it. */
  inSight: number;
}

const lookMs = 1_000;
/** An agent that did not answer is asked again only so often: each question is a handshake. */
const askAgainMs = 15_000;
/** Whoever speaks mDNS here may name any number of meshes. */
const most = 4;

/**
 * What a member sees of other meshes on its LAN. By mDNS every agent says which mesh it is in; one of each is asked, once,
 * what its mesh is called. `onSeen` hears of every change.
 */
export class OtherMeshes {
  readonly #door: Pick<EnrolDoor, 'strangers' | 'openEnrol'>;
  readonly #ledger: () => Ledger | null;
  readonly #onSeen: (meshes: OtherMesh[]) => void;
  readonly #names = new Map<string, { name: string; member: string }>();
  readonly #notBefore = new Map<string, number>();
  readonly #timer: NodeJS.Timeout;
  #meshes: OtherMesh[] = [];

  constructor(
    door: Pick<EnrolDoor, 'strangers' | 'openEnrol'>,
    ledger: () => Ledger | null,
    onSeen: (meshes: OtherMesh[]) => void,
  ) {
    this.#door = door;
    this.#ledger = ledger;
    this.#onSeen = onSeen;
    this.#timer = setInterval(() => this.#look(), lookMs).unref();
  }

  list(): readonly OtherMesh[] {
    return this.#meshes;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const ledger = this.#ledger();
    if (ledger === null) return;
    const agents = new Map<string, Stranger[]>();
    for (const stranger of this.#door.strangers()) {
      const { node, mesh } = stranger;
      if (!mesh || mesh === ledger.mesh.id || Object.hasOwn(ledger.nodes, node)) continue;
      agents.set(mesh, [...(agents.get(mesh) ?? []), stranger]);
    }
    for (const id of this.#names.keys()) if (!agents.has(id)) this.#names.delete(id);
    for (const id of this.#notBefore.keys()) if (!agents.has(id)) this.#notBefore.delete(id);
    const meshes = [...agents].slice(0, most);
    for (const [id, [first]] of meshes) if (first) this.#ask(id, first);
    const seen = meshes.flatMap(([id, { length }]) => {
      const named = this.#names.get(id);
      return named ? [{ id, ...named, inSight: length }] : [];
    });
    if (JSON.stringify(seen) === JSON.stringify(this.#meshes)) return;
    this.#meshes = seen;
    this.#onSeen(seen);
  }

  #ask(id: string, stranger: Stranger): void {
    const now = performance.now();
    if (this.#names.has(id) || now < (this.#notBefore.get(id) ?? 0)) return;
    this.#notBefore.set(id, now + askAgainMs);
    void askMesh(this.#door, stranger).then((mesh) => {
      // What it says by mDNS is not proven; what it says here comes from the agent itself.
      if (mesh?.meshId === id) this.#names.set(id, { name: mesh.meshName, member: mesh.memberName });
    });
  }
}

/**
 * Two founders that did not see each other in time: both know by the same rule who gives way, without a word between
 * them. A mesh with more machines stays, else the one with the smaller id. Only who is alone may give way.
 */
export function meshToYieldTo(ledger: Ledger, others: readonly OtherMesh[]): OtherMesh | null {
  if (Object.keys(ledger.nodes).length > 1) return null;
  const stronger = others.filter(({ id, inSight }) => inSight > 1 || id < ledger.mesh.id);
  return stronger.sort((a, b) => b.inSight - a.inSight || (a.id < b.id ? -1 : 1))[0] ?? null;
}

export function otherMeshLines(ledger: Ledger | null, others: readonly OtherMesh[]): Attention[] {
  const isAlone = Object.keys(ledger?.nodes ?? {}).length === 1;
  return others.map(({ id, name, member }) => ({
    code: 'other-mesh',
    severity: isAlone ? 'warn' : 'info',
    sentence: `another mesh "${shown(name)}" (id ${id.slice(0, 8)}, with ${member}) is on this LAN`,
    fix: 'to move this machine there: autogit-node leave && autogit-node join --switch',
  }));
}
