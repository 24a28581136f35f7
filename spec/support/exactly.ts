type Same<One, Other> =
  (<Type>() => Type extends One ? 1 : 2) extends <Type>() => Type extends Other ? 1 : 2
    ? true
    : false

/** Takes a value whose type is the one asked for, no wider and no narrower: else it doesn't compile. */
export function exactly<Wanted>() {
  return <Got>(
    got: Got,
    ..._proof: Same<Got, Wanted> extends true ? [] : ['another type']
  ): unknown => got
}
