import type { Flag } from './settings-flag.ts';

/** How much a machine packs of a job's files, and keeps. */
export const packedFlags: readonly Flag[] = [
  {
    key: 'artifactLimit',
    name: 'artifact-limit',
    kind: 'size',
    value: 'SIZE',
    default: '10g',
    commands: ['join'],
    help: "most that one artifact's files may be together, before packing",
  },
  {
    key: 'cacheLimit',
    name: 'cache-limit',
    kind: 'size',
    value: 'SIZE',
    commands: ['join'],
    help: 'most that the caches of jobs take on this machine, the longest unused go first; without it 20g, and a tenth of the disk at most; 0: none are kept',
  },
  {
    key: 'cacheShare',
    name: 'cache-share',
    kind: 'choice',
    choices: ['mesh', 'never'],
    value: 'WORD',
    default: 'mesh',
    commands: ['join'],
    help: 'never: caches of jobs are neither given to other machines of the mesh nor taken from them',
  },
];
