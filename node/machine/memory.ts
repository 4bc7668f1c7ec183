/** This computer's memory in bytes; `available` is what programs could get without swapping. */
export async function memory(): Promise<{ total: number; available: number }> {
  // Loaded when first asked: it takes longer than all else that a start needs.
  const { mem } = await import('systeminformation');
  return mem();
}
