import type { Flag } from './settings-flag.ts';

/** Flags of `gitlab …`. */
export const gitlabFlags: readonly Flag[] = [
  {
    key: 'gitlab.tokenEnv',
    name: 'token-env',
    kind: 'text',
    value: 'VAR',
    commands: ['gitlab connect'],
    help: 'variable that holds an admin token (scope api)',
  },
  {
    key: 'gitlab.runnerTokenEnv',
    name: 'runner-token-env',
    kind: 'list',
    value: 'VAR',
    commands: ['gitlab connect'],
    help: 'variable that holds a runner token (glrt-…); give --tags after it',
  },
  {
    key: 'gitlab.tags',
    name: 'tags',
    kind: 'list',
    separator: ';',
    value: 'a,b',
    commands: ['gitlab connect'],
    help: 'tags of the runner token before it',
  },
  {
    key: 'gitlab.now',
    name: 'now',
    kind: 'switch',
    commands: ['gitlab disconnect'],
    help: 'jobs that run are given up, not waited for',
  },
  {
    key: 'gitlab.force',
    name: 'force',
    kind: 'switch',
    commands: ['gitlab disconnect'],
    help: 'GitLab is not waited for: runners that it does not delete are named and left',
  },
];
