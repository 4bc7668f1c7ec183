import { readFileSync, writeFileSync } from 'node:fs';
import type Docker from 'dockerode';
import type { DeviceRequest } from 'dockerode';
import { sentenceOf } from '../../protocol/errors.ts';
import { AskAgain } from '../machine/ask-again.ts';
import { nvidiaDriver } from '../machine/nvidia-smi.ts';
import { labels } from './docker-container.ts';
import { withLimit } from './docker-engine.ts';
import { ensureGitImage } from './git-image.ts';
import { cdiDevices } from './gpu-options.ts';

interface CanaryOptions {
  node: string;
  docker(): Promise<Docker>;
  /** Where it stands with which driver containers got the GPUs last; null: tried at each start. */
  file: string | null;
  /** For tests: what the driver says of its version, how GPUs are asked for, and what must be in the container then. */
  version?: string;
  requests?: DeviceRequest[];
  devices?: string;
}

const patienceMs = 60_000;
const all: DeviceRequest = { Driver: 'nvidia', Count: -1, DeviceIDs: [], Capabilities: [['gpu']], Options: {} };
const allByCdi = 'nvidia.com/gpu=all';

const readOr = (file: string): string => {
  try {
    return readFileSync(file, 'utf8').trim().slice(0, 1000);
  } catch {
    return '';
  }
};

/**
 * A container that asks for all of NVIDIA's cards, before the first GPU job that meets another driver than the one before: after an
 * upgrade that was not followed by a reboot, or without its libraries, each job would fail as it begins. Until it has got them
 * GPU jobs wait; it is tried again, at the latest after five minutes.
 */
export class GpuCanary {
  readonly #options: CanaryOptions;
  readonly #again = new AskAgain();
  #passed: string;
  #problem: string | null = null;
  #trying: Promise<void> | null = null;

  constructor(options: CanaryOptions) {
    this.#options = options;
    this.#passed = options.file === null ? '' : readOr(options.file);
  }

  /** Why no GPU job may begin now; null when the driver that is loaded is known to be good. Does not wait for the try. */
  problem(info: object): string | null {
    const driver = readOr(this.#options.version ?? nvidiaDriver);
    if (driver === '' || driver === this.#passed) return null;
    if (this.#trying === null && this.#again.isDue())
      this.#trying = this.#try(driver, info).finally(() => {
        this.#trying = null;
      });
    return this.#problem ?? 'its NVIDIA driver is another than before: a container tries its GPUs first';
  }

  async #try(driver: string, info: object): Promise<void> {
    const { file } = this.#options;
    try {
      await withLimit(this.#run(info), patienceMs);
      this.#passed = driver;
      this.#problem = null;
      if (file !== null) writeFileSync(file, `${driver}\n`, { mode: 0o600 });
      this.#again.answered(true);
    } catch (error) {
      const said = sentenceOf(error).replace(/\s+/g, ' ').slice(0, 120);
      this.#problem = `containers do not get this machine's NVIDIA GPUs (a reboot after an upgrade of the driver?): ${said}`;
      this.#again.answered(false);
    }
  }

  async #run(info: object): Promise<void> {
    const { node, devices = '/dev/nvidia[0-9]* /dev/dxg', requests } = this.#options;
    const docker = await this.#options.docker();
    const byCdi = { ...all, Driver: 'cdi', Count: 0, DeviceIDs: [allByCdi], Capabilities: [] };
    const Image = await ensureGitImage(docker);
    const container = await docker.createContainer({
      Image,
      Entrypoint: ['/bin/sh'],
      Cmd: ['-c', `for f in ${devices}; do [ -e "$f" ] && exit 0; done; exit 7`],
      Labels: { [labels.node]: node, [labels.helper]: 'gpu-canary' },
      HostConfig: {
        DeviceRequests: requests ?? [cdiDevices(info).has(allByCdi) ? byCdi : all],
        NetworkMode: 'none',
        CapDrop: ['ALL'],
        SecurityOpt: ['no-new-privileges'],
        ReadonlyRootfs: true,
        LogConfig: { Type: 'none', Config: {} },
      },
    });
    try {
      await container.start();
      const { StatusCode } = (await container.wait()) as { StatusCode: number };
      if (StatusCode === 7) throw new Error('a container that asked for them found none');
      if (StatusCode !== 0) throw new Error(`a container that asked for them ended with ${StatusCode}`);
    } finally {
      await container.remove({ force: true }).catch(() => undefined);
    }
  }
}
