import type { Command } from './command.ts';

const notices = () => import('./notify-commands.ts');

/** Of the table of commands: who is told when something is wrong. */
export const notifyCommands: readonly Command[] = [
  {
    path: 'notify add',
    args: '<kind> [address]',
    help: 'tell somebody when something is wrong: log, webhook, ntfy, slack, mail, homeassistant, heartbeat; a secret in a variable or a file, never in an argument',
    run: async (c) => (await notices()).add(c),
  },
  {
    path: 'notify list',
    help: 'who is told, and whether they could be',
    run: async (c) => (await notices()).list(c),
  },
  {
    path: 'notify remove',
    args: '<name>',
    help: 'tell that one no more',
    run: async (c) => (await notices()).remove(c),
  },
  {
    path: 'notify test',
    args: '[name]',
    help: 'send that one, or all, a notice that nothing is wrong',
    run: async (c) => (await notices()).test(c),
  },
  {
    path: 'notify quiet',
    args: '[hours]',
    help: 'when nobody is woken (22:00-07:00; off): only what is broken outright rings then',
    run: async (c) => (await notices()).quiet(c),
  },
];
