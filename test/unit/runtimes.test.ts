import { describe, expect, it } from 'vitest';
import { demandOf } from '../../scheduler/jobs/demand.ts';
import { fitOf } from '../../scheduler/jobs/machine-fit.ts';
import { roomOf } from '../../scheduler/jobs/room.ts';
import { runtimeFor, tellableRuntimes } from '../../scheduler/jobs/runtimes.ts';
import { measured } from './jobs-lab-machines.ts';

describe('runtimes that isolate more than a container', () => {
  it('are told but for those that every engine has, or that give GPUs', () => {
    const names = [
      'runc',
      'io.containerd.runc.v2',
      'io.containerd.runtime.v1.linux',
      'nvidia',
      'nvidia-cdi',
      'runsc',
      'kata-fc',
      'odd name',
      'crun',
    ];
    expect(tellableRuntimes(names)).toEqual(['kata-fc', 'runsc']);
  });

  it.each([
    [['gvisor'], ['kata', 'runsc'], 'runsc'],
    [['gvisor'], ['runsc-kvm'], 'runsc-kvm'],
    [['gvisor', 'runtime runsc'], ['runsc-kvm', 'runsc'], 'runsc'],
    [['kata'], ['io.containerd.kata.v2'], 'io.containerd.kata.v2'],
    [['micro-vm'], ['kata-qemu', 'kata-fc', 'runsc'], 'kata-fc'],
    [['micro-vm'], ['runsc'], null],
    [['gvisor', 'kata'], ['runsc', 'kata'], null],
    [['runtime sysbox-runc'], ['sysbox-runc'], 'sysbox-runc'],
    [['gvisor'], ['notrunscape'], null],
  ] as const)('%j of %j is %s', (wishes, offered, found) => expect(runtimeFor(wishes, offered)).toBe(found));

  const verdict = (tags: string[], more: object): ReturnType<typeof fitOf> => {
    const machine = { ...measured({}), ...more };
    const rest = { holders: {}, runs: 0, witness: false, drained: false, away: null, isHost: false };
    return fitOf(demandOf(tags, 'amd64'), {
      node: 'n',
      name: 'kang',
      measured: machine,
      room: roomOf(machine, [], 0),
      ...rest,
    });
  };
  it('are what a job waits for, in words; of an engine that is away nobody knows what it has', () => {
    expect(verdict(['firecracker-1cpu-1gb'], {})).toMatchObject({
      ever: false,
      because: 'has no engine with a runtime that is a micro VM (Kata, Firecracker)',
    });
    expect(verdict(['firecracker-1cpu-1gb'], { runtimes: ['kata'] }).fits).toBe(true);
    expect(verdict(['runtime-runsc'], { runtimes: ['runsc'] }).fits).toBe(true);
    expect(verdict(['runtime-runsc'], { runtimes: ['kata'] }).because).toBe(
      'has no engine with a runtime that is called runsc',
    );
    const away = { executors: [], workProblems: [{ about: 'docker-away', sentence: 'no Docker Engine answers' }] };
    expect(verdict(['isolation-gvisor'], away)).toMatchObject({
      ever: true,
      because: 'takes no jobs now: no Docker Engine answers',
    });
  });
});
