import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { Attention, NodeRow, StatusSnapshot } from '../../protocol/status.ts';

/** What a machine sees of its mesh at one moment. */
export interface TimelineView {
  ledger: Ledger;
  status: StatusSnapshot;
  wallMs: number;
  /** This agent has had the time to hear the others: until then nothing is said of who is away. */
  settled: boolean;
  /** Why the machine that led before leads no more, where this one has heard it. */
  leaderLost: string | null;
}

/** Something that needs attention. `toldAt`, `goneAt`: ms of wall time; null: not told yet, still there. */
export interface MarkedAttention {
  code: string;
  node: string | null;
  sentence: string;
  since: number;
  toldAt: number | null;
  goneAt: number | null;
}

interface MarkedNode {
  name: string;
  left: boolean;
  drained: boolean;
  /** What takes no new work. */
  paused: 'no' | 'gpu' | 'all';
}

/** What was there when the timeline was told last: kept beside it, so that nothing is told twice. All of it is JSON, and small. */
export interface TimelineMark {
  mesh: string;
  leader: { node: string; term: number } | null;
  nodes: Record<NodeId, MarkedNode>;
  /** Names of machines that wait to be let in. */
  waiting: Record<NodeId, string>;
  acts: string[];
  /** Runs that are lost, and those that failed by no doing of their own, with what becomes of their jobs. */
  lost: string[];
  faults: Record<string, string>;
  gitlab: MarkedGitlab;
  attention: Record<string, MarkedAttention>;
}

/** Each in words that change when something did. */
interface MarkedGitlab {
  mode: string;
  state: string;
  host: string | null;
  epoch: number;
  backup: string | null;
  restored: string | null;
  moved: string | null;
  upgraded: string | null;
  drills: Record<string, string>;
}

export const actKey = ({ at, sentence }: { at: number; sentence: string }): string => `${at} ${sentence}`;

/** What it takes no new work for, by its owner's wish; null: its state says nothing of that. */
function pausedOf(row: NodeRow): 'no' | 'gpu' | 'all' | null {
  if (row.state === 'suspect' || row.state === 'gone' || row.state === 'waiting' || row.capacity === null) return null;
  return row.paused ?? 'no';
}

/** Without what needs attention: that is looked at for a while before it is told. */
export function markOf({ ledger, status }: TimelineView, before: TimelineMark | null): Omit<TimelineMark, 'attention'> {
  const rows = new Map(status.nodes.map((row) => [row.id, row]));
  const { leader } = status;
  return {
    mesh: ledger.mesh.id,
    // Who led last is remembered: a restart of this agent is no election.
    leader: leader ? { node: leader.node, term: leader.term } : (before?.leader ?? null),
    nodes: Object.fromEntries(
      Object.entries(ledger.nodes).map(([node, { name, left, drained }]) => {
        const row = rows.get(node);
        const paused = (row && pausedOf(row)) ?? before?.nodes[node]?.paused ?? 'no';
        return [node, { name, left, drained, paused }];
      }),
    ),
    waiting: Object.fromEntries(
      Object.entries(ledger.approvals)
        .filter(([, { ignored }]) => !ignored)
        .map(([node, { name }]) => [node, name]),
    ),
    acts: (ledger.acts ?? []).map(actKey),
    lost: Object.values(ledger.runs)
      .filter(({ state }) => state === 'lost')
      .map(({ run }) => run),
    faults: Object.fromEntries(Object.entries(ledger.faults ?? {}).map(([run, { retry }]) => [run, retry])),
    gitlab: markedGitlab(status.gitlab),
  };
}

const markedGitlab = ({ move, upgrade, vault, drills = [], ...gitlab }: StatusSnapshot['gitlab']): MarkedGitlab => ({
  mode: gitlab.mode,
  state: gitlab.state,
  host: gitlab.host,
  epoch: gitlab.epoch,
  backup: gitlab.lastBackup?.id ?? gitlab.protected?.lastBackup ?? null,
  restored: vault?.restored ? `${vault.restored.backup} ${vault.restored.isDone}` : null,
  moved: move?.ended?.at ?? null,
  upgraded: upgrade?.ended?.at ?? null,
  drills: Object.fromEntries(drills.flatMap(({ node, last }) => (last ? [[node, last.at]] : []))),
});

/** What is told by its own event, and would be told twice. */
const toldOtherwise =
  /^(?:act-.*|machine-waiting|node-left|node-draining|node-paused|owner-playing|gpu-paused|no-leader|recovered|not-approved)$/;

/**
 * The same matter under the same key, however its figures change: by its code and by what it is about, which stands before two
 * spaces, or in the command that fixes it.
 */
export function attentionKey({ code, sentence, fix }: Attention): string | null {
  if (toldOtherwise.test(code)) return null;
  // A machine that is silent is gone after a minute: that is one matter.
  const matter = code === 'node-gone' ? 'node-suspect' : code;
  const about = subjectOf(sentence) ?? fix;
  return about === null ? matter : `${matter} ${about.slice(0, 120)}`;
}

/** "kang  does not answer" is of kang. */
export const subjectOf = (sentence: string): string | null => /^(\S{1,64}) {2}/.exec(sentence)?.[1] ?? null;
