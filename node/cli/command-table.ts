import type { Command } from './command.ts';
import { gitlabCommands } from './gitlab-table.ts';
import { notifyCommands } from './notify-table.ts';

const mesh = () => import('./mesh-commands.ts');
const local = () => import('./local-commands.ts');
const deployment = () => import('./gitlab-deploy.ts');
const dashboards = () => import('./dashboard-command.ts');

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
  ...gitlabCommands,
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
