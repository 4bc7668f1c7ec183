import type { Context } from './context.ts';
import { notifyCommands } from './notify-table.ts';

/** One command: how it is typed, and where its code is. The code is loaded when the command runs, not before. */
export interface Command {
  /** `gitlab connect` */
  readonly path: string;
  /** Arguments as commander spells them. */
  readonly args?: string;
  readonly help: string;
  /** It writes autogit.yml: one that is no good must not keep it from that. */
  readonly ignoresFile?: boolean;
  /** It talks to people alone: `--json` would be ignored, so it is refused. */
  readonly hasNoJson?: boolean;
  /** Completes with the exit code. */
  run(context: Context): Promise<number>;
}

const mesh = () => import('./mesh-commands.ts');
const local = () => import('./local-commands.ts');
const gitlab = () => import('./gitlab-commands.ts');
const vault = () => import('./gitlab-backup.ts');
const upgrading = () => import('./gitlab-upgrade.ts');
const restoring = () => import('./gitlab-history.ts');
const copies = () => import('./gitlab-copies.ts');
const deployment = () => import('./gitlab-deploy.ts');
const dashboards = () => import('./dashboard-command.ts');
const certificates = () => import('./certificate-command.ts');

export const commands: readonly Command[] = [
  {
    path: 'join',
    hasNoJson: true,
    help: "find the LAN's mesh, or start one, and stay",
    run: async (c) => (await local()).join(c),
  },
  { path: 'leave', help: 'hand over, then go (keeps the identity)', run: async (c) => (await mesh()).leave(c) },
  { path: 'status', help: 'the mesh on one screen', run: async (c) => (await import('./status-command.ts')).status(c) },
  {
    path: 'top',
    help: 'live screen of machines, GPUs, jobs and events: ? shows its keys',
    run: async (c) => (await import('./top-command.ts')).top(c),
  },
  {
    path: 'jobs',
    args: '[id]',
    help: 'queue and runs, with why',
    run: async (c) => (await import('./jobs-commands.ts')).jobs(c),
  },
  {
    path: 'why',
    args: '<job>',
    help: 'every machine, and the one reason it was not chosen',
    run: async (c) => (await import('./jobs-commands.ts')).why(c),
  },
  {
    path: 'logs',
    args: '[job]',
    help: "a job's trace; without a job this agent's log",
    run: async (c) => (await import('./logs-command.ts')).logs(c),
  },
  {
    path: 'events',
    help: 'what happened in the mesh: elections, machines, lost runs, moves, and why',
    run: async (c) => (await import('./events-command.ts')).events(c),
  },
  {
    path: 'cancel',
    args: '<job>',
    help: 'end a job, at GitLab and where it runs (its number, or its name)',
    run: async (c) => (await import('./jobs-commands.ts')).cancel(c),
  },
  {
    path: 'retry',
    args: '<job>',
    help: 'run a job again that has ended (its number, or its name)',
    run: async (c) => (await import('./jobs-commands.ts')).retry(c),
  },
  {
    path: 'metrics',
    hasNoJson: true,
    help: "the mesh in figures, as Prometheus reads them: for node_exporter's textfile collector",
    run: async (c) => (await import('./metrics-command.ts')).metrics(c),
  },
  {
    path: 'runbook',
    args: '[name]',
    hasNoJson: true,
    help: 'what an alert or a code of attention means, costs and asks for (list: all of them); of what status shows now',
    run: async (c) => (await import('./runbook-command.ts')).runbook(c),
  },
  {
    path: 'cache',
    help: "what this machine keeps of its jobs' caches",
    run: async (c) => (await import('./cache-commands.ts')).show(c),
  },
  {
    path: 'cache clear',
    args: '[project]',
    help: "remove them, or a project's, from this machine (its path, as group/project)",
    run: async (c) => (await import('./cache-commands.ts')).clear(c),
  },
  { path: 'approve', args: '[node]', help: 'let a waiting machine in', run: async (c) => (await mesh()).approve(c) },
  {
    path: 'ignore',
    args: '<node>',
    help: 'stop asking about a waiting machine',
    run: async (c) => (await mesh()).ignore(c),
  },
  { path: 'forget', args: '<node>', help: 'remove a node for good', run: async (c) => (await mesh()).forget(c) },
  { path: 'invite', help: 'a one-time code for one machine', run: async (c) => (await mesh()).invite(c) },
  {
    path: 'pause',
    help: 'the owner wants this machine (or its GPU) for himself',
    run: async (c) => (await mesh()).pause(c),
  },
  {
    path: 'resume',
    help: 'the machine works again, also after jobs failed because of it',
    run: async (c) => (await mesh()).resume(c),
  },
  {
    path: 'drain',
    args: '<node>',
    help: 'give a node no new work, no vote and no lead',
    run: async (c) => (await mesh()).drain(c),
  },
  {
    path: 'undrain',
    args: '<node>',
    help: 'give it work and its vote again',
    run: async (c) => (await mesh()).undrain(c),
  },
  {
    path: 'gitlab',
    help: "the mesh's GitLab: state and why; below it: deploy, connect, protect, backup, restore, upgrade and more",
    run: async (c) => (await gitlab()).show(c),
  },
  {
    path: 'gitlab connect',
    args: '<url>',
    help: 'take jobs from a GitLab that runs already',
    run: async (c) => (await gitlab()).connect(c),
  },
  {
    path: 'gitlab disconnect',
    help: 'take no jobs from it any more: jobs end, its runners and the token go; the mesh stays',
    run: async (c) => (await gitlab()).disconnect(c),
  },
  {
    path: 'gitlab deploy',
    help: 'run GitLab itself on a machine of the mesh, with copies on others',
    run: async (c) => (await deployment()).deploy(c),
  },
  {
    path: 'gitlab password',
    args: '[user]',
    help: "root's first password of the GitLab that the mesh runs, or a new one for a user, shown once",
    run: async (c) => (await deployment()).password(c),
  },
  {
    path: 'gitlab certificate',
    help: "the certificate of GitLab's https address: which it is, or another one",
    run: async (c) => (await certificates()).certificate(c),
  },
  {
    path: 'gitlab copies',
    help: 'which machines hold copies of GitLab, and what its death would cost now',
    run: async (c) => (await copies()).show(c),
  },
  {
    path: 'gitlab copies add',
    args: '<node>',
    help: 'let a machine hold copies of GitLab',
    run: async (c) => (await copies()).add(c),
  },
  {
    path: 'gitlab copies remove',
    args: '<node>',
    help: 'no more copies to that machine; what lies there is deleted',
    run: async (c) => (await copies()).remove(c),
  },
  {
    path: 'gitlab uninstall',
    help: 'end the GitLab that the mesh runs; its data stays unless --delete-data',
    run: async (c) => (await deployment()).uninstall(c),
  },
  {
    path: 'gitlab upgrade',
    help: 'a newer GitLab, tried on a clone first; what is now is kept, and comes back if it does not come up',
    run: async (c) => (await upgrading()).upgrade(c),
  },
  {
    path: 'gitlab adopt',
    args: '[container]',
    help: "make a GitLab that runs in a container without the mesh the mesh's own; the old one is kept. With --data also GitLab's data of a mesh that is gone",
    run: async (c) => (await import('./gitlab-adopt.ts')).adopt(c),
  },
  {
    path: 'gitlab protect',
    args: '[container]',
    help: 'back up a GitLab that runs here without the mesh; nothing of it is changed',
    run: async (c) => (await import('./gitlab-protect.ts')).protect(c),
  },
  {
    path: 'gitlab backup',
    help: 'back up the GitLab that the mesh runs or protects, now and each day from then on',
    run: async (c) => (await vault()).backup(c),
  },
  {
    path: 'gitlab history',
    help: 'what GitLab can be made of again: rounds and backups',
    run: async (c) => (await restoring()).history(c),
  },
  {
    path: 'gitlab diff',
    args: '[backup]',
    help: 'what is not as it was in a round, a backup, what was replaced, or what a machine served until another one took over (fenced-EPOCH)',
    run: async (c) => (await import('./gitlab-diff.ts')).diff(c),
  },
  {
    path: 'gitlab fenced',
    help: 'what machines keep that they served until another one took over, and what of it is nowhere else',
    run: async (c) => (await import('./gitlab-fenced.ts')).show(c),
  },
  {
    path: 'gitlab fenced drop',
    args: '<name>',
    help: 'delete it for good, for room: looks first what is in it alone, and asks',
    run: async (c) => (await import('./gitlab-fenced.ts')).drop(c),
  },
  {
    path: 'gitlab restore',
    args: '[backup]',
    help: 'GitLab as it was in a backup or round; what it has now is kept beside it. With --project one project, also of fenced-EPOCH',
    run: async (c) => (await restoring()).restore(c),
  },
  {
    path: 'gitlab move',
    args: '[node]',
    help: 'run GitLab on another machine that is in sync; nothing is lost, and nobody is served while it starts there',
    run: async (c) => (await import('./move-command.ts')).move(c),
  },
  {
    path: 'gitlab drill',
    help: 'try GitLab from a copy, without network: whether it comes out whole',
    run: async (c) => (await import('./drill-command.ts')).drill(c),
  },
  {
    path: 'gitlab take-over',
    args: '[node]',
    help: 'its host is gone: GitLab goes on from the copy there, though it would not by itself',
    run: async (c) => (await import('./failover-commands.ts')).takeOver(c),
  },
  {
    path: 'gitlab clear-flag',
    help: 'GitLab moved by itself too often, and may again from now on',
    run: async (c) => (await import('./failover-commands.ts')).clearFlag(c),
  },
  {
    path: 'rehearse leader-loss',
    help: 'the machine that leads falls silent for a moment, for real: who leads next, and after how long',
    run: async (c) => (await import('./rehearse-command.ts')).leaderLoss(c),
  },
  {
    path: 'rehearse host-loss',
    help: "what the death of GitLab's host would cost: GitLab is started from the newest copy, without network, and ended",
    run: async (c) => (await import('./rehearse-command.ts')).hostLoss(c),
  },
  {
    path: 'reconcile',
    help: 'look at the GitLab that the mesh runs, and mend what is wrong, now',
    run: async (c) => (await deployment()).reconcile(c),
  },
  {
    path: 'recover',
    help: 'this machine alone goes on, after a person has seen the others switched off',
    run: async (c) => (await import('./recover-command.ts')).recover(c),
  },
  {
    path: 'fallback',
    help: "the mesh is off: write an ordinary gitlab-runner's config for its jobs on this machine",
    run: async (c) => (await import('./fallback-command.ts')).fallback(c),
  },
  {
    path: 'settings',
    args: '[key] [value]',
    help: "the mesh's settings, in the ledger",
    run: async (c) => (await mesh()).settings(c),
  },
  {
    path: 'dashboard',
    help: 'a one-time link to the page that this agent serves; below it: keys for programs',
    run: async (c) => (await dashboards()).dashboard(c),
  },
  {
    path: 'dashboard key',
    help: "a key for a program that reads the page's API, shown once",
    run: async (c) => (await dashboards()).key(c),
  },
  {
    path: 'dashboard keys',
    help: 'who is let in: keys, and browsers that came by a link',
    run: async (c) => (await dashboards()).keys(c),
  },
  {
    path: 'dashboard key-remove',
    args: '<key>',
    help: 'let a key, or a browser, in no more (its name)',
    run: async (c) => (await dashboards()).keyRemove(c),
  },
  {
    path: 'webhook test',
    help: "send each machine's door for GitLab's webhooks a delivery, and say what it answers",
    run: async (c) => (await import('./webhook-command.ts')).test(c),
  },
  ...notifyCommands,
  {
    path: 'doctor',
    help: 'check this machine, and say what to type',
    run: async (c) => (await import('../doctor/doctor-command.ts')).doctor(c),
  },
  {
    path: 'audit',
    help: 'who did what in the mesh, as the machines that vote wrote it down',
    run: async (c) => (await import('./audit-command.ts')).audit(c),
  },
  {
    path: 'support',
    help: 'one file for a bug report: status, logs, events, doctor, settings, cleaned of secrets; sends nothing',
    run: async (c) => (await import('./support-command.ts')).support(c),
  },
  {
    path: 'demo',
    hasNoJson: true,
    help: 'three agents and a practice GitLab on this machine',
    run: async (c) => (await local()).demo(c),
  },
  { path: 'practice-gitlab', help: 'the stand-in GitLab alone', run: async (c) => (await local()).practiceGitlab(c) },
  {
    path: 'service install',
    hasNoJson: true,
    help: 'start at boot (systemd); as root without --user, process jobs are a user of their own each',
    run: async (c) => (await import('./service-commands.ts')).install(c),
  },
  {
    path: 'service uninstall',
    hasNoJson: true,
    help: 'start at boot no more',
    run: async (c) => (await import('./service-commands.ts')).uninstall(c),
  },
  {
    path: 'service status',
    help: 'does the service run?',
    run: async (c) => (await import('./service-commands.ts')).show(c),
  },
  {
    path: 'config',
    help: 'the settings in force, and where each comes from',
    run: async (c) => (await import('./config-commands.ts')).config(c),
  },
  {
    path: 'config init',
    help: 'write an autogit.yml for this machine: every setting with its default, commented out',
    ignoresFile: true,
    run: async (c) => (await import('./config-commands.ts')).init(c),
  },
  {
    path: 'paths',
    help: 'where this agent keeps what, and where its docs are',
    run: async (c) => (await local()).paths(c),
  },
  { path: 'id', help: "this machine's identity", run: async (c) => (await local()).id(c) },
  {
    path: 'completion',
    hasNoJson: true,
    args: '<shell>',
    help: 'shell completion: bash, zsh or fish',
    run: async (c) => (await import('./completion.ts')).completion(c),
  },
  { path: 'version', help: 'the version', run: async (c) => (await local()).showVersion(c) },
  {
    path: '__complete',
    args: '<kind>',
    help: '',
    run: async (c) => (await import('./completion-words.ts')).words(c),
  },
];

/** Commands that only gather others. */
export const groups: Readonly<Record<string, string>> = {
  rehearse: 'see on the living mesh what a loss would do, and put everything back',
  notify: 'who is told when something is wrong',
  service: 'systemd unit of this agent',
  webhook: 'GitLab tells the mesh at once that there is work (join --webhook)',
};
