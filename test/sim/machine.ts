import type { Measured } from '../../protocol/report.ts';
import type { Container } from './container.ts';
import type { Disk } from './disk.ts';
import { HostedMachine } from './hosted-machine.ts';
import type { World } from './world.ts';

export interface Build {
  cpus: number;
  memoryGiB: number;
  gpus: { uuid: string; model: string; memoryGiB: number }[];
}

const GiB = 2 ** 30;
export const baseWallMs = 1_760_000_000_000;

/** The hardware and its kernel: power, clocks, a disk, what runs in containers. Agents come and go on it. */
export class Machine {
  readonly id: string;
  readonly name: string;
  readonly build: Build;
  power: 'on' | 'off' | 'suspended' = 'off';
  boot = '';
  disk: Disk;
  /** The kernel's clock goes by this rate, up to 10 % off. */
  rate = 1;
  #bootedAt = 0;
  #boots = 0;
  readonly containers = new Map<string, Container>();
  /** What it has of the mesh's own GitLab. */
  readonly hosted: HostedMachine;
  /** Votes, but takes no work. */
  isWitness = false;
  /** Its agent led when it was suspended. */
  ledBeforeSleep = false;
  /** `now` of the last resume: the watchdog needs its next look before it can freeze what thawed with the machine. */
  resumedAt = Number.NEGATIVE_INFINITY;
  readonly #world: World;

  constructor(world: World, id: string, name: string, build: Build, disk: Disk) {
    this.#world = world;
    this.id = id;
    this.name = name;
    this.build = build;
    this.disk = disk;
    this.hosted = new HostedMachine(world, this);
  }

  /** ms of boot time; goes on in suspend. */
  bootMs(): number {
    return Math.floor((this.#world.now - this.#bootedAt) * this.rate);
  }

  wallMs(): number {
    return baseWallMs + Math.floor(this.#world.now);
  }

  /** ms of the world until this machine's clock shows `at`. */
  untilBootMs(at: number): number {
    return Math.max(0, this.#bootedAt + at / this.rate - this.#world.now);
  }

  turnOn(): void {
    this.#boots += 1;
    this.power = 'on';
    this.boot = `boot-${this.id}-${this.#boots}`;
    this.#bootedAt = this.#world.now - this.#world.chance.between(1000, 20_000);
  }

  turnOff(): void {
    this.power = 'off';
    this.hosted.turnOff();
    for (const container of this.containers.values()) container.destroy('its machine went off');
    this.containers.clear();
  }

  measure(isHealthy: boolean): Measured {
    const { cpus, memoryGiB, gpus } = this.build;
    const used = [...this.containers.values()].filter((container) => !container.isOver);
    const load = this.#world.chance.next();
    return {
      arch: 'amd64',
      os: 'linux',
      capacity: {
        cpuMillis: cpus * 1000,
        memoryBytes: memoryGiB * GiB,
        diskBytes: 500 * GiB,
        gpus: gpus.map((gpu) => ({
          uuid: gpu.uuid,
          vendor: 'nvidia',
          model: gpu.model,
          memoryBytes: gpu.memoryGiB * GiB,
        })),
      },
      usedCpuMillis: Math.round(load * cpus * 1000),
      usedMemoryBytes: Math.round(0.5 * GiB + used.length * load * 0.8 * GiB),
      usedDiskBytes: 100 * GiB,
      gpus: gpus.map((gpu) => ({
        uuid: gpu.uuid,
        usedBytes: 0,
        busyPercent: used.some((container) => container.run.gpus.includes(gpu.uuid)) ? 90 : 0,
        foreign: false,
      })),
      labels: gpus.length > 0 ? ['render'] : ['inference'],
      executors: ['docker'],
      maxRuns: null,
      reserveMemoryBytes: 0,
      owner: 'away',
      paused: 'no',
      pausedBecause: null,
      healthy: isHealthy,
      unhealthyBecause: isHealthy ? null : 'the store cannot be written',
    };
  }
}
