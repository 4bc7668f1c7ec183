import { openSync, readFileSync, readSync } from 'node:fs';

/** `bootMs` goes on in suspend, `wallMs` may jump; durations and safety use boot time only (SAFETY H4). */
export interface Clock {
  /** ms of boot time, fresh, never going back. */
  bootMs(): number;
  /** The kernel's id of this boot. */
  bootId(): string;
  /** ms since the Unix epoch: for display and the expiry of invitations. */
  wallMs(): number;
}

export interface ClockSources {
  /** Text of /proc/uptime: seconds since boot with suspend, in steps of 10 ms. */
  uptime(): string;
  /** ms of a monotonic clock; it may stand still in suspend. */
  monotonic(): number;
  bootId(): string;
  wall(): number;
}

/** The kernel shows boot time in steps of this many ms. */
const stepMs = 10;

/**
 * Node cannot read CLOCK_BOOTTIME, only its 10 ms steps in /proc/uptime (3 µs a read). Each call reads it afresh and
 * uses the monotonic clock to count inside the step only, so that a suspend is noticed by the very next call.
 */
export function createClock(sources: ClockSources): Clock {
  let offset = Number.NEGATIVE_INFINITY;
  return {
    bootMs() {
      const read = Number.parseFloat(sources.uptime()) * 1000;
      const monotonic = sources.monotonic();
      offset = Math.min(Math.max(offset, read - monotonic), read + stepMs - monotonic);
      return Math.floor(monotonic + offset);
    },
    bootId: () => sources.bootId(),
    wallMs: () => sources.wall(),
  };
}

/**
 * For tests only: its value is taken for the kernel's id of this boot, so that the lab (test/lab) can reboot a machine
 * in miniature, whose kernel is the computer's and goes on.
 */
const bootVariable = 'AUTOGIT_LAB_BOOT_ID';

/** What a child process with an environment of its own needs to have the same clock as this one. */
export function clockEnvironment(): Record<string, string> {
  const id = process.env[bootVariable];
  return id ? { [bootVariable]: id } : {};
}

/** Reads the file afresh at each call. It stays open: the clock is read several times a message. */
function uptimeReader(): () => string {
  const file = openSync('/proc/uptime', 'r');
  const buffer = Buffer.alloc(64);
  return () => buffer.toString('latin1', 0, readSync(file, buffer, 0, buffer.length, 0));
}

/** This machine's clock. */
export function systemClock(): Clock {
  const id = process.env[bootVariable] || readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return createClock({
    uptime: uptimeReader(),
    monotonic: () => performance.now(),
    bootId: () => id,
    wall: () => Date.now(),
  });
}
