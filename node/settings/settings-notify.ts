import type { Flag } from './settings-flag.ts';

/** Whom the mesh tells that something is wrong. */
export const notifyFlags: readonly Flag[] = [
  {
    key: 'notify.name',
    name: 'name',
    kind: 'text',
    value: 'NAME',
    commands: ['notify add'],
    help: 'how it is called, where several are of one kind; one of that name is replaced',
  },
  {
    key: 'notify.urlEnv',
    name: 'url-env',
    kind: 'text',
    value: 'VAR',
    commands: ['notify add'],
    help: 'variable that holds the address, where there is a secret in it',
  },
  {
    key: 'notify.urlFile',
    name: 'url-file',
    kind: 'text',
    value: 'FILE',
    commands: ['notify add'],
    help: 'file that holds it',
  },
  {
    key: 'notify.secretEnv',
    name: 'secret-env',
    kind: 'text',
    value: 'VAR',
    commands: ['notify add'],
    help: 'variable that holds the password, token, or key of the signature',
  },
  {
    key: 'notify.secretFile',
    name: 'secret-file',
    kind: 'text',
    value: 'FILE',
    commands: ['notify add'],
    help: 'file that holds that secret',
  },
  {
    key: 'notify.to',
    name: 'to',
    kind: 'text',
    value: 'MAIL',
    commands: ['notify add'],
    help: 'whom mail goes to',
  },
  {
    key: 'notify.from',
    name: 'from',
    kind: 'text',
    value: 'MAIL',
    commands: ['notify add'],
    help: 'of whom mail comes (default: of whom it goes to)',
  },
  {
    key: 'notify.all',
    name: 'all',
    kind: 'switch',
    commands: ['notify quiet'],
    help: 'what is broken outright waits too',
  },
];
