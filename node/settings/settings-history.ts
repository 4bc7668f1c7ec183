import type { Flag } from './settings-flag.ts';

/** Of the commands that show what was. */
export const historyFlags: readonly Flag[] = [
  { key: 'logs.all', name: 'all', kind: 'switch', commands: ['logs'], help: 'the logs of all machines, in one stream' },
  {
    key: 'events.follow',
    name: 'follow',
    short: 'f',
    kind: 'switch',
    commands: ['events'],
    help: 'go on with what happens',
  },
  {
    key: 'audit.lines',
    name: 'lines',
    short: 'n',
    kind: 'count',
    value: 'N',
    commands: ['audit'],
    help: 'the last so many (default: 40 on a terminal, all in a pipe)',
  },
  {
    key: 'support.out',
    name: 'out',
    kind: 'text',
    value: 'FILE',
    commands: ['support'],
    help: 'where it is written (default: autogit-support-NAME-TIME.tar.gz here)',
  },
  {
    key: 'events.lines',
    name: 'lines',
    short: 'n',
    kind: 'count',
    value: 'N',
    commands: ['events'],
    help: 'the last so many (default: 40 on a terminal, 500 in a pipe)',
  },
];
