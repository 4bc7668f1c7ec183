/**
 * Runtimes of a machine's engine beside its usual one, which isolate jobs more than containers do: gVisor (`runsc`, needs no
 * KVM), Kata (a micro VM). A job asks by tags: `runtime-<name>` for one by the name that the engine has it by, else by what it is.
 */
export type Isolation = 'gvisor' | 'kata' | 'micro-vm' | `runtime ${string}`;

const patterns: Record<'gvisor' | 'kata' | 'micro-vm', RegExp> = {
  gvisor: /(^|[.-])(runsc|gvisor)([.-]|$)/i,
  kata: /(^|[.-])kata([.-]|$)/i,
  'micro-vm': /(^|[.-])(kata|firecracker)([.-]|$)/i,
};
/** Of several micro VMs Firecracker's comes first, which its tag asks for by name. */
const isFirecracker = (name: string): boolean => /firecracker|(^|[.-])fc([.-]|$)/i.test(name);

/** What every engine has, and what gives GPUs to containers: no isolation of its own. */
const usual = /^(runc|io\.containerd\.(runc\.v[12]|runtime\.v1\.linux)|crun|youki|nvidia.*|.*amd.*)$/i;

/** Names of an engine's runtimes that are worth telling. */
export const tellableRuntimes = (names: readonly string[]): string[] =>
  names
    .filter((name) => !usual.test(name) && /^[\w.-]{1,64}$/.test(name))
    .sort()
    .slice(0, 16);

const suits = (wish: Isolation, name: string): boolean =>
  wish.startsWith('runtime ') ? name === wish.slice(8) : patterns[wish as keyof typeof patterns].test(name);

/** The runtime that is all that is asked for; null where there is none. */
export function runtimeFor(wishes: readonly Isolation[], offered: readonly string[]): string | null {
  const found = offered.filter((name) => wishes.every((wish) => suits(wish, name)));
  return found.find(isFirecracker) ?? found[0] ?? null;
}

const words: Record<'gvisor' | 'kata' | 'micro-vm', string> = {
  gvisor: 'gVisor (runsc)',
  kata: 'Kata',
  'micro-vm': 'a micro VM (Kata, Firecracker)',
};

/** As the end of "has no engine with a runtime ...". */
export const lackingRuntime = (wishes: readonly Isolation[]): string =>
  `that is ${wishes.map((wish) => (wish.startsWith('runtime ') ? `called ${wish.slice(8)}` : words[wish as keyof typeof words])).join(' and ')}`;
