import { asSentence } from '../protocol/ids.ts';
import type { Misfit } from '../protocol/job-asks.ts';
import type { Ledger } from '../protocol/ledger.ts';
import { limits } from '../protocol/limits.ts';
import type { Measured } from '../protocol/report.ts';
import type { Attention, NodeRow } from '../protocol/status.ts';
import { demandOf } from './jobs/demand.ts';
import { isBusy } from './jobs/jobs-state.ts';
import type { MachineView } from './jobs/machine-fit.ts';
import { machinesOf } from './jobs/machines.ts';
import { place } from './jobs/placement.ts';
import { waitingJobs } from './jobs/queue.ts';
import { noticeLines } from './notices/notice-lines.ts';
import { bySeverity, cut, listed, span } from './phrases.ts';
import { hasUnseen } from './recovered.ts';
import { knownToRemoved, secretsDue } from './secrets-due.ts';
import { copyLines } from './snapshot-copies.ts';
import { drillLines } from './snapshot-drill.ts';
import { certificateLines, peopleLines } from './snapshot-gitlab.ts';
import { gitlabLines } from './snapshot-gitlab-lines.ts';
import { leavingLines } from './snapshot-leaving.ts';
import type { QuorumView } from './snapshot-quorum.ts';
import { formerEraLines, recoveryLines } from './snapshot-recovery.ts';
import { meshViewOf, nodeName, type ViewInput } from './snapshot-view.ts';

/** Clocks further apart than this make times of `status` and expiries of invitations wrong. */
const clockLimitMs = 30_000;
const approvalsShown = 16;
/** So often within an hour the leader may change before somebody should look: also what the alert AutogitLeaderChanges lets pass. */
const calmChanges = 4;
/** How long an act of a person is shown to everybody. */
const actsShownMs = 3_600_000;

/** What a person should look at, worst first, each with the command that fixes it. */
export function attentionOf(view: ViewInput, nodes: readonly NodeRow[], quorum: QuorumView): Attention[] {
  const { ledger } = view;
  if (ledger === null)
    return [
      {
        code: 'not-approved',
        severity: 'warn',
        sentence: 'this machine is in no mesh yet',
        fix: 'on an approved machine: autogit-node approve',
      },
    ];
  return [
    ...quorumLines(view, quorum),
    ...recoveryLines(view, ledger),
    ...formerEraLines(view, ledger),
    ...actLines(view, ledger),
    ...secretLines(ledger),
    ...noticeLines(ledger),
    ...frozenLines(view),
    ...heldLines(view),
    ...leavingLines(view, ledger),
    ...gitlabLines(view, ledger),
    ...copyLines(view, ledger),
    ...drillLines(view, ledger),
    ...peopleLines(view, ledger),
    ...certificateLines(view, ledger),
    ...classLines(ledger),
    ...waitingLines(ledger),
    ...nodes.flatMap((node) => nodeLines(view, node, quorum.holds)),
    ...tagLines(view, ledger),
    ...clockLines(view, ledger),
  ].sort(bySeverity);
}

function quorumLines(view: ViewInput, quorum: QuorumView): Attention[] {
  if (!quorum.holds)
    return [
      {
        code: 'no-quorum',
        severity: 'fail',
        sentence: quorum.sentence,
        // With a cable out, the others may go on without this machine: force would make two meshes of one.
        fix: 'only if they are switched off and stay so: autogit-node recover --force',
      },
    ];
  const lines: Attention[] = [];
  if (view.leader === null)
    lines.push({
      code: 'no-leader',
      severity: 'warn',
      sentence: 'this machine hears no leader: running jobs go on, new ones wait until it does',
      fix: null,
    });
  if (view.leaderChanges > calmChanges)
    lines.push({
      code: 'leader-changes',
      severity: 'warn',
      sentence: `the leader has changed ${view.leaderChanges} times within the last hour: a machine or the network between them is too slow, or breaks off`,
      fix: 'autogit-node events',
    });
  const left = Object.values(view.ledger?.nodes ?? {}).find((node) => node.left)?.name;
  if (quorum.canLose === 0 && quorum.voters.length > 1)
    lines.push({
      code: 'quorum-at-risk',
      severity: quorum.voters.length === 2 ? 'info' : 'warn',
      sentence: quorum.sentence,
      fix:
        left !== undefined
          ? `on ${left}: autogit-node join`
          : quorum.voters.length === 2
            ? 'on a third machine: autogit-node join --witness'
            : null,
    });
  return lines;
}

/** Runs of this machine that stand still because it hears no leader: SAFETY J1. */
const frozenLines = ({ jobs, ledger }: ViewInput): Attention[] =>
  Object.values(jobs.own.runs)
    .filter((run) => run.frozen && isBusy(run))
    .map(({ job, name }) => ({
      code: 'run-frozen',
      severity: 'info' as const,
      sentence: `job ${job} (${name}) is frozen here, until ${ledger !== null && hasUnseen(ledger) ? 'GitLab answers' : 'this machine hears a leader again'}`,
      fix: null,
    }));

/** Runs of any machine that stand still for its owner. */
const heldLines = ({ ledger }: ViewInput): Attention[] =>
  Object.values(ledger?.runs ?? {}).flatMap((run) =>
    run.held === undefined || !isBusy(run)
      ? []
      : {
          code: 'run-held',
          severity: 'info' as const,
          sentence: cut(`job ${run.job} (${run.name}) on ${nodeName(ledger as Ledger, run.node)}: ${run.held}`),
          fix: null,
        },
  );

/** A GitLab was connected, a machine removed: whoever looks in the next hour should know. */
function actLines(view: ViewInput, { acts = [], gitlab }: Ledger): Attention[] {
  const newest = acts.findLast(({ kind }) => /gitlab/.test(kind));
  const gone = acts.findLastIndex(({ kind }) => kind === 'gitlab-gone');
  return acts
    .filter(({ at }) => Math.abs(view.wallMs - at) < actsShownMs)
    .filter(({ kind }, index) => !/^((disconnect|deploy|uninstall)-gitlab|agree-copies)$/.test(kind) || index > gone)
    .map((act) => {
      const ago = `${span(Math.max(0, view.wallMs - act.at))} ago`;
      // What was connected an hour ago may be disconnected since. Earlier versions wrote it into the act.
      const inForce = act === newest && act.kind === 'connect-gitlab' && gitlab.mode !== 'none';
      const sentence = act.sentence.replace(/: its jobs run here$/, '');
      return {
        code: `act-${act.kind}`,
        severity: 'info',
        sentence: `${sentence}, ${ago}${inForce ? ': its jobs run here' : ''}`,
        fix: null,
      };
    });
}

/** Until everything that a removed machine knew has been changed, by the mesh itself or by a person. */
function secretLines(ledger: Ledger): Attention[] {
  const due = secretsDue(ledger);
  const theirs = knownToRemoved(ledger);
  const older = listed(due.blockedBy.map((node) => nodeName(ledger, node)));
  const lines: [boolean, string, string | null][] = [
    [
      due.key,
      `a removed machine knows the mesh's key${older === '' ? '' : `, which changes when ${older} has this version or is removed too`}`,
      null,
    ],
    [
      due.token,
      "a removed machine knew GitLab's token: make a new one",
      'autogit-node gitlab connect URL --token-env VAR',
    ],
    [due.classes.length > 0, `a removed machine knew ${due.classes.length} runner tokens that are still in use`, null],
    [
      theirs.notices.length > 0,
      `a removed machine knows, where it voted, the addresses of who is told of this mesh (${cut(listed(theirs.notices), 120)}): change them where they are from, then name each anew`,
      'autogit-node notify add KIND ADDRESS --name NAME',
    ],
    [
      theirs.backups !== null,
      `a removed machine knows, where it voted, the key of the backups in ${theirs.backups}: if it can reach them, name a new place and delete those`,
      'autogit-node gitlab backup --to TARGET',
    ],
    [
      theirs.certificate,
      "a removed machine knows, where it voted, the key of GitLab's certificate: have that revoked and bring another one",
      'autogit-node gitlab certificate --tls-cert FILE --tls-key FILE',
    ],
  ];
  return lines
    .filter(([isDue]) => isDue)
    .map(([, sentence, fix]) => ({ code: 'secrets-known', severity: 'warn', sentence, fix }));
}

/** Runners that GitLab does not know any more, and jobs that it gave to nobody. */
const classLines = ({ classes, rescues, gitlab }: Ledger): Attention[] => [
  ...Object.values(classes).flatMap(({ tags, lost, given }): Attention[] => {
    if (lost === undefined) return [];
    if (!given)
      return [{ code: 'runner-lost', severity: 'warn', sentence: `${lost}: a new one is being made`, fix: null }];
    const fix = `autogit-node gitlab connect ${gitlab.url} --runner-token-env VAR --tags '${tags.join(',')}'`;
    return [{ code: 'runner-token', severity: 'fail', sentence: `${lost}: its jobs wait`, fix }];
  }),
  ...Object.values(rescues ?? {})
    .slice(0, 4)
    .map(({ because, retry }) => ({
      code: 'job-rescue',
      severity: 'info' as const,
      sentence: `${because}; it is ended at GitLab${retry ? ' and tried again' : ''}`,
      fix: null,
    })),
];

const waitingLines = (ledger: Ledger): Attention[] =>
  Object.values(ledger.approvals)
    .filter((approval) => !approval.ignored)
    .slice(0, approvalsShown)
    .map((approval) => ({
      code: 'machine-waiting',
      severity: 'info' as const,
      sentence: `${approval.name} waits to be let in: compare the words ${approval.words}`,
      fix: `autogit-node approve ${approval.name} --words ${approval.words}`,
    }));

function nodeLines(view: ViewInput, node: NodeRow, quorumHolds: boolean): Attention[] {
  const line = (code: string, severity: Attention['severity'], fix: string | null): Attention[] => [
    { code, severity, sentence: `${node.node}  ${node.because ?? node.state}`, fix },
  ];
  const left = view.ledger?.nodes[node.id]?.left ?? false;
  if (node.state === 'gone')
    return left
      ? line('node-left', 'info', `on ${node.node}: autogit-node join`)
      : line('node-gone', 'warn', quorumHolds ? `if it never comes back: autogit-node forget ${node.node}` : null);
  const heard = view.jobs.reports[node.id]?.report.measured;
  return [...gpuLines(node, heard?.gpuProblems ?? []), ...workLines(view, node, quorumHolds, heard, line)];
}

const gpuLines = (node: NodeRow, problems: readonly string[]): Attention[] =>
  problems.slice(0, 1).map((problem) => ({
    code: 'gpu-problem',
    severity: 'warn',
    sentence: `${node.node}  ${problem}`,
    fix: `on ${node.node}: autogit-node doctor`,
  }));

/** What mends it, by our own words alone: what a person pastes never comes from another machine. */
const workFixes: ReadonlyMap<string, string> = new Map([
  ['docker-away', 'sudo systemctl restart docker'],
  ['docker-full', 'docker system prune'],
  ['disk-full', 'df -h'],
  ['gitlab-away', 'autogit-node doctor'],
  ['git-away', 'sudo apt-get install --reinstall git'],
  ['job-faults', 'autogit-node resume'],
]);

function workLines(
  view: ViewInput,
  node: NodeRow,
  quorumHolds: boolean,
  heard: Measured | undefined,
  line: (code: string, severity: Attention['severity'], fix: string | null) => Attention[],
): Attention[] {
  if (heard && !heard.healthy) return line('node-unhealthy', 'fail', `on ${node.node}: autogit-node doctor`);
  // An agent that refuses is a machine that runs: its own service manager knows more. Of a silent one doctor tells more.
  if (node.state === 'suspect')
    return line(
      'node-suspect',
      'warn',
      view.liveness(node.id).state === 'dead'
        ? `on ${node.node}: systemctl status autogit-node`
        : quorumHolds && node.id !== view.self
          ? 'autogit-node doctor'
          : null,
    );
  if (node.state === 'draining') return line('node-draining', 'info', `autogit-node undrain ${node.node}`);
  if (heard?.paused === 'all') return line('node-paused', 'info', `on ${node.node}: autogit-node resume`);
  if (heard?.owner === 'playing' && heard.capacity.gpus.length > 0) return line('owner-playing', 'info', null);
  if (heard?.paused === 'gpu')
    return [
      {
        code: 'gpu-paused',
        severity: 'info',
        // A machine without a GPU, or one that leads, has no such sentence of its own.
        sentence: `${node.node}  ${heard.pausedBecause ?? 'no new GPU work'}`,
        fix: `on ${node.node}: autogit-node resume --gpu`,
      },
    ];
  const problems = heard?.workProblems ?? [];
  // Where the leader does not reach GitLab either, that is one line for all.
  const isFar = (about: string): boolean =>
    about === 'gitlab-away' && (view.ledger === null ? 0 : gitlabLines(view, view.ledger).length) > 0;
  if (problems.length > 0)
    return problems
      .filter(({ about }) => !isFar(about))
      .map(({ about, sentence }) => ({
        code: workFixes.has(about) ? about : 'work-problem',
        severity: 'warn',
        sentence: `${node.node}  takes no jobs: ${sentence}`,
        fix: `on ${node.node}: ${workFixes.get(about) ?? 'autogit-node doctor'}`,
      }));
  if (heard && heard.executors.length === 0 && !view.ledger?.nodes[node.id]?.witness)
    return [
      {
        code: 'no-executor',
        severity: 'warn',
        sentence: `${node.node}  cannot run jobs: Docker does not answer and process is not switched on`,
        fix: `on ${node.node}: autogit-node doctor`,
      },
    ];
  return [];
}

/** Only the leader has the queue; one line for each tag set that nobody can ever satisfy. */
function tagLines(view: ViewInput, ledger: Ledger): Attention[] {
  const machines = machinesOf(meshViewOf(view, ledger));
  return [...misfitsAmong(view, ledger, machines).map(misfitLine), ...givenLines(ledger, machines)].slice(0, 10);
}

/** Jobs of the queue that fit no machine, one for each tag set. Only the leader knows the queue: it tells the others. */
export const misfitsOf = (view: ViewInput): Misfit[] =>
  view.ledger === null ? [] : misfitsAmong(view, view.ledger, machinesOf(meshViewOf(view, view.ledger)));

function misfitsAmong(view: ViewInput, ledger: Ledger, machines: readonly MachineView[]): Misfit[] {
  const found: Misfit[] = [];
  const looked = new Set<string>();
  for (const job of waitingJobs(view.jobs, ledger, view)) {
    if (looked.has(job.class)) continue;
    looked.add(job.class);
    const placement = place(demandOf(job.tags, ledger.settings.defaultArch), machines);
    if (placement.never) found.push({ job: job.job, because: asSentence(placement.because) });
  }
  return found.slice(0, limits.misfits);
}

/** As every machine says it, whoever found it. */
export const misfitLine = ({ job, because }: Misfit): Attention => ({
  code: 'tags-unsatisfiable',
  severity: 'warn',
  sentence: `job ${job}: ${because}`,
  fix: `autogit-node why ${job}`,
});

/** GitLab tells nobody what waits for a runner token that the user gave: its tags must fit some machine. */
const givenLines = (ledger: Ledger, machines: ReturnType<typeof machinesOf>): Attention[] =>
  Object.values(ledger.classes).flatMap(({ given, tags }): Attention[] => {
    const placement = given ? place(demandOf(tags, ledger.settings.defaultArch), machines) : null;
    if (!placement?.never) return [];
    const sentence = `no machine here has ${listed(tags)}: jobs of this runner token wait in GitLab (${placement.because})`;
    return [
      {
        code: 'tags-unsatisfiable',
        severity: 'warn',
        sentence,
        fix: `on a machine that has it: autogit-node join --label ${tags[0]}`,
      },
    ];
  });

const clockLines = (view: ViewInput, ledger: Ledger): Attention[] =>
  Object.entries(view.jobs.reports)
    .filter(([node, heard]) => ledger.nodes[node] !== undefined && Math.abs(heard.clockOffMs) > clockLimitMs)
    .map(([node, heard]) => ({
      code: 'clock',
      severity: 'warn' as const,
      sentence: `the clock of ${nodeName(ledger, node)} is ${span(Math.abs(heard.clockOffMs))} ${heard.clockOffMs > 0 ? 'ahead of' : 'behind'} ${nodeName(ledger, view.self)}'s`,
      fix: `on ${nodeName(ledger, node)}: sudo timedatectl set-ntp true`,
    }));
