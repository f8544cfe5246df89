{
  # node native/install.mjs runs this; ISTHMUS_SANITIZE=1 makes a build with AddressSanitizer and UndefinedBehaviorSanitizer.
  "variables": { "sanitize%": "<!(echo ${ISTHMUS_SANITIZE:-0})" },
  "targets": [
    {
      "target_name": "isthmus",
      # One a line, so that two who add a file do not meet.
      "sources": [
        "addon.c",
        "arguments.c",
        "checksum.c",
        "coalesce.c",
        "echo.c",
        "inner.c",
        "link.c",
        "load.c",
        "netlink.c",
        "packets.c",
        "raw.c",
        "segment.c",
        "stream.c",
        "system.c",
        "tun.c",
        "unix.c",
        "wake.c",
        "watch.c",
      ],
      "defines": ["NAPI_VERSION=8"],
      "cflags": [
        "-std=c17", "-O2", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror",
        "-fvisibility=hidden", "-fstack-protector-strong"
      ],
      # Node's own defaults would let -Wno-unused-parameter through, and large-file and C++ flags mean nothing here.
      "cflags!": ["-Wno-unused-parameter"],
      "ldflags": ["-Wl,-z,relro", "-Wl,-z,now"],
      "conditions": [
        ["sanitize==1", {
          "cflags": ["-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"],
          "ldflags": ["-fsanitize=address,undefined"]
        }]
      ]
    }
  ]
}
