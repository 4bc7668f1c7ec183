import type { Flag } from './settings-flag.ts';

/** Of a machine that runs jobs: its engine, and what of them stays on its disk. */
export const jobFlags: readonly Flag[] = [
  {
    key: 'dockerHost',
    name: 'docker-host',
    kind: 'text',
    value: 'URL',
    commands: ['join', 'doctor'],
    help: 'unix:///… or tcp://… of the Docker Engine',
  },
  {
    key: 'defaultImage',
    name: 'default-image',
    kind: 'text',
    value: 'IMAGE',
    commands: ['join'],
    help: 'image of docker jobs that name none',
  },
  {
    key: 'imageRoom',
    name: 'image-room',
    kind: 'percent',
    value: 'PERCENT',
    default: '15',
    commands: ['join'],
    help: "with less free on the engine's disk, images that jobs pulled are removed, the longest unused first; 0: never",
  },
  {
    key: 'imageAge',
    name: 'image-age',
    kind: 'duration',
    value: 'TIME',
    default: '30d',
    commands: ['join'],
    help: 'images that jobs pulled are removed when unused for so long; 0: never',
  },
  {
    key: 'giveWay',
    name: 'give-way',
    kind: 'list',
    value: 'WAY',
    commands: ['join'],
    help: "what becomes of running jobs that are in the owner's way: finish, freeze, suspend (GPU memory moves into main memory; else freeze), suspend/end, end (they run again elsewhere); of one tag: train=suspend",
  },
  {
    key: 'keepTrees',
    name: 'keep-trees',
    kind: 'size',
    value: 'SIZE',
    commands: ['join'],
    help: 'most that trees of projects, kept for their next jobs, take of the disk; without it a tenth of it, at most 50 GiB; 0: none is kept',
  },
];
