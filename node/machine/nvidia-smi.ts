import type { Gpu } from '../../protocol/report.ts';
import { execClean, findProgram } from '../clean-spawn.ts';
import { AskAgain } from './ask-again.ts';
import {
  appsQuery,
  type GpuSample,
  gpuQuery,
  type NvidiaRow,
  nvidiaSamples,
  parseGpuQuery,
  parsePmon,
} from './gpu-nvidia.ts';

interface NvidiaAnswer {
  samples: GpuSample[];
  /** The driver's own words when it does not work; empty when all is well. */
  problems: string[];
  /** False when there is no nvidia-smi: no NVIDIA driver here. */
  isInstalled: boolean;
}

/** A driver that hangs must not hang the agent, ms. */
const timeoutMs = 8_000;
/** There, with its version, while NVIDIA's driver is loaded. */
export const nvidiaDriver = '/proc/driver/nvidia/version';
/** WSL2 keeps it outside the usual path. */
export const nvidiaSmiPlaces = ['nvidia-smi', '/usr/lib/wsl/lib/nvidia-smi'];

interface Answered {
  isThere: boolean;
  ok: boolean;
  text: string;
}

function run(file: string, args: string[]): Promise<Answered> {
  // Most machines have no such GPU, and this is asked every 10 s: no process is started for it.
  if (findProgram(file, process.env.PATH) === null) return Promise.resolve({ isThere: false, ok: false, text: '' });
  return new Promise((resolve) => {
    execClean(
      file,
      args,
      { timeout: timeoutMs, killSignal: 'SIGKILL', maxBuffer: 1 << 20 },
      (error, stdout, stderr) => {
        const missing = (error as NodeJS.ErrnoException | null)?.code;
        if (missing === 'ENOENT' || missing === 'EACCES') return resolve({ isThere: false, ok: false, text: '' });
        if (error?.killed)
          return resolve({ isThere: true, ok: false, text: `${file} did not answer within ${timeoutMs / 1000} s` });
        resolve({ isThere: true, ok: error === null, text: stdout.trim() === '' ? stderr : stdout });
      },
    );
  });
}

/** MIG devices come and go with their partition; a card does not. */
const isCard = (gpu: Gpu): boolean => !gpu.uuid.startsWith('MIG-');

/**
 * Asks nvidia-smi what the GPUs are and who uses them. Never throws: a broken driver is a problem in words, and a card
 * that was there and does not answer now stays, with the problem. Nothing is sticky: what failed is asked again.
 */
export class NvidiaSmi {
  readonly #places: readonly string[];
  readonly #systemMemoryBytes: number;
  readonly #isAsleep: () => Promise<boolean>;
  #file: string | null = null;
  readonly #migField = new AskAgain();
  readonly #pmon = new AskAgain();
  /** The last that was known of each card, by uuid. */
  readonly #known = new Map<string, Gpu>();
  #wasWell = false;

  /** `isAsleep`: are all cards of this driver suspended? Then looking would wake them, and tell nothing new. */
  constructor(systemMemoryBytes: number, file?: string, isAsleep: () => Promise<boolean> = async () => false) {
    this.#places = file === undefined ? nvidiaSmiPlaces : [file];
    this.#systemMemoryBytes = systemMemoryBytes;
    this.#isAsleep = isAsleep;
  }

  async sample(): Promise<NvidiaAnswer> {
    if (this.#wasWell && this.#known.size > 0 && (await this.#isAsleep())) return this.#asleep();
    const query = await this.#query();
    if (query === null) {
      const gone = this.#known.size > 0 ? ['nvidia-smi is not here any more: was the driver removed?'] : [];
      return this.#answer([], [], gone, false);
    }
    const { rows, problems } = parseGpuQuery(query.text);
    if (rows.length === 0 && problems.length === 0) problems.push('nvidia-smi says nothing');
    if (rows.length === 0) return this.#answer([], rows, problems, true);
    const list = rows.some((row) => row.isMig) ? (await this.#run(['-L'])).text : '';
    const pmon = await this.#askPmon();
    const isNamed =
      pmon !== null && parsePmon(pmon).every(({ process }) => process.type !== 'C' || process.usedBytes !== null);
    const apps = isNamed
      ? null
      : await this.#run([`--query-compute-apps=${appsQuery}`, '--format=csv,noheader,nounits']);
    const samples = nvidiaSamples(rows, {
      apps: apps?.ok ? apps.text : null,
      pmon,
      list,
      systemMemoryBytes: this.#systemMemoryBytes,
    });
    return this.#answer(samples, rows, problems, true);
  }

  /** Adds the cards that were known and are not told of, and what is wrong with each. */
  #answer(told: GpuSample[], rows: NvidiaRow[], problems: string[], isInstalled: boolean): NvidiaAnswer {
    const samples = told.map((sample) => this.#remembered(sample));
    const there = new Set([...samples.map(({ gpu }) => gpu.uuid), ...rows.map(({ uuid }) => uuid)]);
    for (const [uuid, gpu] of this.#known) {
      if (there.has(uuid)) continue;
      if (!isCard(gpu) && problems.length === 0) {
        this.#known.delete(uuid);
        continue;
      }
      const problem = problems[0] ?? `${gpu.model} is not listed by nvidia-smi any more`;
      samples.push({ gpu, usedBytes: null, busyPercent: null, processes: [], problem });
    }
    const all = new Set([...problems, ...samples.flatMap(({ problem }) => problem ?? [])]);
    this.#wasWell = all.size === 0;
    return { samples, problems: [...all], isInstalled };
  }

  /** A card that does not tell its memory now may have told it before. */
  #remembered(sample: GpuSample): GpuSample {
    if (sample.problem === undefined) this.#known.set(sample.gpu.uuid, sample.gpu);
    const known = this.#known.get(sample.gpu.uuid);
    return sample.problem !== undefined && known ? { ...sample, gpu: known } : sample;
  }

  #asleep(): NvidiaAnswer {
    const samples = [...this.#known.values()].map((gpu) => ({ gpu, usedBytes: 0, busyPercent: 0, processes: [] }));
    return { samples, problems: [], isInstalled: true };
  }

  /** Null when it was not asked, or has no answer: by it games are named, and one bad answer must not end that. */
  async #askPmon(): Promise<string | null> {
    if (!this.#pmon.isDue()) return null;
    const pmon = await this.#run(['pmon', '-c', '1', '-s', 'um']);
    this.#pmon.answered(pmon.ok);
    return pmon.ok ? pmon.text : null;
  }

  async #query(): Promise<Answered | null> {
    const ask = (fields: string) => this.#run([`--query-gpu=${fields}`, '--format=csv,noheader,nounits']);
    if (this.#migField.isDue()) {
      const answered = await ask(gpuQuery);
      if (!answered.isThere) return null;
      const isUnknown = /not a valid field/i.test(answered.text);
      this.#migField.answered(!isUnknown);
      if (!isUnknown) return answered;
    }
    const old = await ask(gpuQuery.replace(',mig.mode.current', ''));
    if (!old.isThere) return null;
    return { ...old, text: old.text.replace(/$/gm, ', [N/A]').replace(/^, \[N\/A\]$/gm, '') };
  }

  /** The place that answered last comes first; a driver that was moved is found again. */
  async #run(args: string[]): Promise<Answered> {
    const order =
      this.#file === null ? this.#places : [this.#file, ...this.#places.filter((one) => one !== this.#file)];
    for (const place of order) {
      const answered = await run(place, args);
      if (!answered.isThere) continue;
      this.#file = place;
      return answered;
    }
    return { isThere: false, ok: false, text: '' };
  }
}
