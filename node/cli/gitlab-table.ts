import type { Command } from './command.ts';

const gitlab = () => import('./gitlab-commands.ts');
const vault = () => import('./gitlab-backup.ts');
const upgrading = () => import('./gitlab-upgrade.ts');
const restoring = () => import('./gitlab-history.ts');
const copies = () => import('./gitlab-copies.ts');
const deployment = () => import('./gitlab-deploy.ts');
const certificates = () => import('./certificate-command.ts');

/** Of the table of commands: the mesh's GitLab. */
export const gitlabCommands: readonly Command[] = [
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
];
