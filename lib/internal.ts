/*
 * The keys of members that only this package uses. A program can't call them by accident, and the
 * declarations of the package don't show them.
 */

/** Every target: its `Emitter`, which holds the listeners. */
export const EMITTER: unique symbol = Symbol('emitter')

/** Every target, for the compiler only: the types of its events. */
export declare const EVENTS: unique symbol

/** Members of rooms: the method that sends a message as it is, prepared for many members. */
export const DELIVER: unique symbol = Symbol('deliver')

/** `WebsocketServer`: its `Admission`, which takes upgrades and an extension. */
export const ADMISSION: unique symbol = Symbol('admission')

/** `WebsocketClient` and `ChannelClient`: the method that connects over a given network. */
export const OPEN_WITH: unique symbol = Symbol('openWith')

/** Formats that `json` and `codec` make: their codec. */
export const CODEC: unique symbol = Symbol('codec')

/** A client's channel: the presence of its topic, as the server reports it. */
export const REPLICA: unique symbol = Symbol('replica')

/** The method that `console.log` of Node, Bun and Deno calls: `util.inspect.custom`. */
export const INSPECT: unique symbol = Symbol.for('nodejs.util.inspect.custom')
