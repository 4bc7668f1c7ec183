import type { Ledger } from '../../protocol/ledger.ts';
import { confirm, hasTerminal } from '../cli/prompt.ts';
import { shown } from '../foreign-text.ts';
import type { Progress } from '../progress-lines.ts';
import type { JoinOptions } from '../settings/settings.ts';
import { meshToYieldTo, type OtherMesh, OtherMeshes } from './other-meshes.ts';

/** So long after founding nobody has built on the mesh yet, and it may be given up without asking anybody. */
const freshMs = 120_000;

interface LoneFounderOptions {
  options: JoinOptions;
  lines: Progress;
  /** When this very agent founded its mesh, monotonic ms; null when it did not. */
  foundedAt: number | null;
  moveTo(mesh: OtherMesh): void;
  signal: AbortSignal;
}

/**
 * All machines told to `join` at the same moment shall end in one mesh: who is alone in a mesh, and by the common rule
 * gives way, offers to move to the other one. Without a terminal only a mesh that was founded just now, under the same
 * name, is given up; any other is left to people, who see it in `status`.
 */
class LoneFounder {
  readonly #options: LoneFounderOptions;
  readonly #announced = new Set<string>();
  readonly #offered = new Set<string>();
  #openQuestion: AbortController | null = null;

  constructor(options: LoneFounderOptions) {
    this.#options = options;
  }

  /** A newcomer at the door is a question of its own, and this machine will not be alone much longer. */
  onLedger(ledger: Ledger): void {
    if (!mayMove(ledger)) this.#openQuestion?.abort();
  }

  sees(ledger: Ledger, others: readonly OtherMesh[]): void {
    const { lines } = this.#options;
    for (const { id, name, member } of others) {
      if (this.#announced.has(id)) continue;
      this.#announced.add(id);
      lines.wait('mesh', `another mesh "${shown(name)}" (id ${id.slice(0, 8)}, with ${member}) is on this LAN`);
    }
    const to = meshToYieldTo(ledger, others);
    if (to === null || !mayMove(ledger) || this.#offered.has(to.id) || this.#openQuestion) return;
    this.#offered.add(to.id);
    this.#offer(ledger, to).catch(() => {});
  }

  async #offer(ledger: Ledger, to: OtherMesh): Promise<void> {
    const { options, lines, foundedAt, moveTo, signal } = this.#options;
    if (!hasTerminal(options) || options.yes) {
      const isFresh = foundedAt !== null && performance.now() - foundedAt < freshMs;
      if (!isFresh || to.name !== ledger.mesh.name) return;
      lines.warn(
        'mesh',
        `two were founded as "${shown(to.name)}" at once: this machine gives its own up for ${to.member}'s`,
      );
      return moveTo(to);
    }
    const open = new AbortController();
    this.#openQuestion = open;
    const question = `This machine is alone in its own mesh "${shown(ledger.mesh.name)}": leave that, and ask ${to.member} to be let into "${shown(to.name)}"?`;
    try {
      const isWanted = await confirm(question, true, { ...options, signal: AbortSignal.any([open.signal, signal]) });
      if (isWanted) return moveTo(to);
      lines.say('stays; later: autogit-node leave && autogit-node join --switch');
    } finally {
      this.#openQuestion = null;
    }
  }
}

/** With a GitLab connected or somebody at the door, a mesh is more than the wish to have one. */
const mayMove = ({ nodes, gitlab, approvals }: Ledger): boolean =>
  Object.keys(nodes).length === 1 && gitlab.mode === 'none' && Object.values(approvals).every(({ ignored }) => ignored);

export interface Neighbours {
  list(): readonly OtherMesh[];
  onLedger(ledger: Ledger): void;
}

/** The meshes beside ours, until `signal`; and what a lone founder does about them. */
export function watchNeighbours(
  options: LoneFounderOptions & { door: ConstructorParameters<typeof OtherMeshes>[0]; ledger: () => Ledger | null },
): Neighbours {
  const founder = new LoneFounder(options);
  const others = new OtherMeshes(options.door, options.ledger, (seen) => {
    const ledger = options.ledger();
    if (ledger) founder.sees(ledger, seen);
  });
  options.signal.addEventListener('abort', () => others.close(), { once: true });
  return { list: () => others.list(), onLedger: (ledger) => founder.onLedger(ledger) };
}
