module @sluice {
  func.func public @main(%a0: tensor<2x16xi32>, %a1: tensor<32xi32>, %a2: tensor<100x8xf32>, %a3: tensor<8xf32>, %a4: tensor<8x8xf32>, %a5: tensor<8x8xf32>, %a6: tensor<8x8xf32>, %a7: tensor<8x8xf32>, %a8: tensor<8xf32>, %a9: tensor<8x8xf32>, %a10: tensor<8x8xf32>) -> (tensor<32x8xf32>) {
    %v0 = call @part0(%a0, %a2) : (tensor<2x16xi32>, tensor<100x8xf32>) -> (tensor<32x8xf32>)
    %v1 = stablehlo.constant dense<[1.00000000e+0, 1.00000000e-2]> : tensor<2xf32>
    %v2 = stablehlo.broadcast_in_dim %v1, dims = [1] : (tensor<2xf32>) -> tensor<16x2xf32>
    %v3 = stablehlo.iota dim = 0 : tensor<16x2xf32>
    %v4 = stablehlo.multiply %v3, %v2 : tensor<16x2xf32>
    %v5 = stablehlo.cosine %v4 : tensor<16x2xf32>
    %v6 = stablehlo.constant dense<[1.00000000e+0, 1.00000000e-2]> : tensor<2xf32>
    %v7 = stablehlo.broadcast_in_dim %v6, dims = [1] : (tensor<2xf32>) -> tensor<16x2xf32>
    %v8 = stablehlo.iota dim = 0 : tensor<16x2xf32>
    %v9 = stablehlo.multiply %v8, %v7 : tensor<16x2xf32>
    %v10 = stablehlo.sine %v9 : tensor<16x2xf32>
    %v11 = call @part1(%v0, %a3, %a4, %v5, %v10, %a5, %a6, %a7) : (tensor<32x8xf32>, tensor<8xf32>, tensor<8x8xf32>, tensor<16x2xf32>, tensor<16x2xf32>, tensor<8x8xf32>, tensor<8x8xf32>, tensor<8x8xf32>) -> (tensor<32x8xf32>)
    %v12 = call @part2(%v11, %a8, %a9, %a10) : (tensor<32x8xf32>, tensor<8xf32>, tensor<8x8xf32>, tensor<8x8xf32>) -> (tensor<32x8xf32>)
    %v13 = "stablehlo.gather"(%v12, %a1) <{dimension_numbers = #stablehlo.gather<offset_dims = [1], collapsed_slice_dims = [0], start_index_map = [0], index_vector_dim = 1>, slice_sizes = array<i64: 1, 8>, indices_are_sorted = false}> : (tensor<32x8xf32>, tensor<32xi32>) -> tensor<32x8xf32>
    return %v13 : tensor<32x8xf32>
  }
  func.func private @part0(%a0: tensor<2x16xi32>, %a1: tensor<100x8xf32>) -> (tensor<32x8xf32>) {
    %v0 = stablehlo.reshape %a0 : (tensor<2x16xi32>) -> tensor<32xi32>
    %v1 = "stablehlo.gather"(%a1, %v0) <{dimension_numbers = #stablehlo.gather<offset_dims = [1], collapsed_slice_dims = [0], start_index_map = [0], index_vector_dim = 1>, slice_sizes = array<i64: 1, 8>, indices_are_sorted = false}> : (tensor<100x8xf32>, tensor<32xi32>) -> tensor<32x8xf32>
    return %v1 : tensor<32x8xf32>
  }
  func.func private @part1(%a0: tensor<32x8xf32>, %a1: tensor<8xf32>, %a2: tensor<8x8xf32>, %a3: tensor<16x2xf32>, %a4: tensor<16x2xf32>, %a5: tensor<8x8xf32>, %a6: tensor<8x8xf32>, %a7: tensor<8x8xf32>) -> (tensor<32x8xf32>) {
    %v0 = stablehlo.reshape %a0 : (tensor<32x8xf32>) -> tensor<32x1x8xf32>
    %v1 = stablehlo.multiply %v0, %v0 : tensor<32x1x8xf32>
    %v2 = stablehlo.constant dense<0.00000000e+0> : tensor<f32>
    %v3 = stablehlo.reduce(%v1 init: %v2) applies stablehlo.add across dimensions = [2] : (tensor<32x1x8xf32>, tensor<f32>) -> tensor<32x1xf32>
    %v4 = stablehlo.constant dense<8.00000000e+0> : tensor<32x1xf32>
    %v5 = stablehlo.divide %v3, %v4 : tensor<32x1xf32>
    %v6 = stablehlo.constant dense<1.00000000e-6> : tensor<32x1xf32>
    %v7 = stablehlo.add %v5, %v6 : tensor<32x1xf32>
    %v8 = stablehlo.rsqrt %v7 : tensor<32x1xf32>
    %v9 = stablehlo.broadcast_in_dim %v8, dims = [0, 1] : (tensor<32x1xf32>) -> tensor<32x1x8xf32>
    %v10 = stablehlo.multiply %v0, %v9 : tensor<32x1x8xf32>
    %v11 = stablehlo.broadcast_in_dim %a1, dims = [2] : (tensor<8xf32>) -> tensor<32x1x8xf32>
    %v12 = stablehlo.multiply %v10, %v11 : tensor<32x1x8xf32>
    %v13 = stablehlo.reshape %v12 : (tensor<32x1x8xf32>) -> tensor<32x8xf32>
    %v14 = stablehlo.dot_general %v13, %a2, contracting_dims = [1] x [1], precision = [HIGHEST, HIGHEST] : (tensor<32x8xf32>, tensor<8x8xf32>) -> tensor<32x8xf32>
    %v15 = stablehlo.reshape %v14 : (tensor<32x8xf32>) -> tensor<2x16x2x4xf32>
    %v16 = stablehlo.slice %v15 [0:2, 0:16, 0:2, 0:2] : (tensor<2x16x2x4xf32>) -> tensor<2x16x2x2xf32>
    %v17 = stablehlo.slice %v15 [0:2, 0:16, 0:2, 2:4] : (tensor<2x16x2x4xf32>) -> tensor<2x16x2x2xf32>
    %v18 = stablehlo.broadcast_in_dim %a3, dims = [1, 3] : (tensor<16x2xf32>) -> tensor<2x16x2x2xf32>
    %v19 = stablehlo.multiply %v16, %v18 : tensor<2x16x2x2xf32>
    %v20 = stablehlo.broadcast_in_dim %a4, dims = [1, 3] : (tensor<16x2xf32>) -> tensor<2x16x2x2xf32>
    %v21 = stablehlo.multiply %v17, %v20 : tensor<2x16x2x2xf32>
    %v22 = stablehlo.subtract %v19, %v21 : tensor<2x16x2x2xf32>
    %v23 = stablehlo.broadcast_in_dim %a3, dims = [1, 3] : (tensor<16x2xf32>) -> tensor<2x16x2x2xf32>
    %v24 = stablehlo.multiply %v17, %v23 : tensor<2x16x2x2xf32>
    %v25 = stablehlo.broadcast_in_dim %a4, dims = [1, 3] : (tensor<16x2xf32>) -> tensor<2x16x2x2xf32>
    %v26 = stablehlo.multiply %v16, %v25 : tensor<2x16x2x2xf32>
    %v27 = stablehlo.add %v24, %v26 : tensor<2x16x2x2xf32>
    %v28 = stablehlo.concatenate %v22, %v27, dim = 3 : (tensor<2x16x2x2xf32>, tensor<2x16x2x2xf32>) -> tensor<2x16x2x4xf32>
    %v29 = stablehlo.reshape %v28 : (tensor<2x16x2x4xf32>) -> tensor<32x8xf32>
    %v30 = stablehlo.dot_general %v13, %a5, contracting_dims = [1] x [1], precision = [HIGHEST, HIGHEST] : (tensor<32x8xf32>, tensor<8x8xf32>) -> tensor<32x8xf32>
    %v31 = stablehlo.reshape %v30 : (tensor<32x8xf32>) -> tensor<2x16x2x4xf32>
    %v32 = stablehlo.slice %v31 [0:2, 0:16, 0:2, 0:2] : (tensor<2x16x2x4xf32>) -> tensor<2x16x2x2xf32>
    %v33 = stablehlo.slice %v31 [0:2, 0:16, 0:2, 2:4] : (tensor<2x16x2x4xf32>) -> tensor<2x16x2x2xf32>
    %v34 = stablehlo.broadcast_in_dim %a3, dims = [1, 3] : (tensor<16x2xf32>) -> tensor<2x16x2x2xf32>
    %v35 = stablehlo.multiply %v32, %v34 : tensor<2x16x2x2xf32>
    %v36 = stablehlo.broadcast_in_dim %a4, dims = [1, 3] : (tensor<16x2xf32>) -> tensor<2x16x2x2xf32>
    %v37 = stablehlo.multiply %v33, %v36 : tensor<2x16x2x2xf32>
    %v38 = stablehlo.subtract %v35, %v37 : tensor<2x16x2x2xf32>
    %v39 = stablehlo.broadcast_in_dim %a3, dims = [1, 3] : (tensor<16x2xf32>) -> tensor<2x16x2x2xf32>
    %v40 = stablehlo.multiply %v33, %v39 : tensor<2x16x2x2xf32>
    %v41 = stablehlo.broadcast_in_dim %a4, dims = [1, 3] : (tensor<16x2xf32>) -> tensor<2x16x2x2xf32>
    %v42 = stablehlo.multiply %v32, %v41 : tensor<2x16x2x2xf32>
    %v43 = stablehlo.add %v40, %v42 : tensor<2x16x2x2xf32>
    %v44 = stablehlo.concatenate %v38, %v43, dim = 3 : (tensor<2x16x2x2xf32>, tensor<2x16x2x2xf32>) -> tensor<2x16x2x4xf32>
    %v45 = stablehlo.reshape %v44 : (tensor<2x16x2x4xf32>) -> tensor<32x8xf32>
    %v46 = stablehlo.dot_general %v13, %a6, contracting_dims = [1] x [1], precision = [HIGHEST, HIGHEST] : (tensor<32x8xf32>, tensor<8x8xf32>) -> tensor<32x8xf32>
    %v47 = stablehlo.reshape %v29 : (tensor<32x8xf32>) -> tensor<2x16x2x1x4xf32>
    %v48 = stablehlo.transpose %v47, dims = [0, 2, 3, 1, 4] : (tensor<2x16x2x1x4xf32>) -> tensor<2x2x1x16x4xf32>
    %v49 = stablehlo.reshape %v45 : (tensor<32x8xf32>) -> tensor<2x16x2x4xf32>
    %v50 = stablehlo.transpose %v49, dims = [0, 2, 1, 3] : (tensor<2x16x2x4xf32>) -> tensor<2x2x16x4xf32>
    %v51 = stablehlo.reshape %v46 : (tensor<32x8xf32>) -> tensor<2x16x2x4xf32>
    %v52 = stablehlo.transpose %v51, dims = [0, 2, 1, 3] : (tensor<2x16x2x4xf32>) -> tensor<2x2x16x4xf32>
    %v53 = stablehlo.reshape %v48 : (tensor<2x2x1x16x4xf32>) -> tensor<2x2x16x4xf32>
    %v54 = stablehlo.dot_general %v53, %v50, batching_dims = [0, 1] x [0, 1], contracting_dims = [3] x [3], precision = [HIGHEST, HIGHEST] : (tensor<2x2x16x4xf32>, tensor<2x2x16x4xf32>) -> tensor<2x2x16x16xf32>
    %v55 = stablehlo.reshape %v54 : (tensor<2x2x16x16xf32>) -> tensor<2x2x1x16x16xf32>
    %v56 = stablehlo.constant dense<5.00000000e-1> : tensor<2x2x1x16x16xf32>
    %v57 = stablehlo.multiply %v55, %v56 : tensor<2x2x1x16x16xf32>
    %v58 = stablehlo.iota dim = 0 : tensor<16x16xi32>
    %v59 = stablehlo.constant dense<0> : tensor<16x16xi32>
    %v60 = stablehlo.add %v58, %v59 : tensor<16x16xi32>
    %v61 = stablehlo.iota dim = 1 : tensor<16x16xi32>
    %v62 = stablehlo.constant dense<0> : tensor<16x16xi32>
    %v63 = stablehlo.add %v61, %v62 : tensor<16x16xi32>
    %v64 = stablehlo.compare LE, %v63, %v60 : (tensor<16x16xi32>, tensor<16x16xi32>) -> tensor<16x16xi1>
    %v65 = stablehlo.broadcast_in_dim %v64, dims = [3, 4] : (tensor<16x16xi1>) -> tensor<2x2x1x16x16xi1>
    %v66 = stablehlo.constant dense<0xFF800000> : tensor<2x2x1x16x16xf32>
    %v67 = stablehlo.select %v65, %v57, %v66 : tensor<2x2x1x16x16xi1>, tensor<2x2x1x16x16xf32>
    %v68 = stablehlo.constant dense<0xFF800000> : tensor<f32>
    %v69 = stablehlo.reduce(%v67 init: %v68) applies stablehlo.maximum across dimensions = [4] : (tensor<2x2x1x16x16xf32>, tensor<f32>) -> tensor<2x2x1x16xf32>
    %v70 = stablehlo.broadcast_in_dim %v69, dims = [0, 1, 2, 3] : (tensor<2x2x1x16xf32>) -> tensor<2x2x1x16x16xf32>
    %v71 = stablehlo.subtract %v67, %v70 : tensor<2x2x1x16x16xf32>
    %v72 = stablehlo.exponential %v71 : tensor<2x2x1x16x16xf32>
    %v73 = stablehlo.reshape %v72 : (tensor<2x2x1x16x16xf32>) -> tensor<2x2x16x16xf32>
    %v74 = stablehlo.dot_general %v73, %v52, batching_dims = [0, 1] x [0, 1], contracting_dims = [3] x [2], precision = [HIGHEST, HIGHEST] : (tensor<2x2x16x16xf32>, tensor<2x2x16x4xf32>) -> tensor<2x2x16x4xf32>
    %v75 = stablehlo.reshape %v74 : (tensor<2x2x16x4xf32>) -> tensor<2x2x1x16x4xf32>
    %v76 = stablehlo.constant dense<0.00000000e+0> : tensor<f32>
    %v77 = stablehlo.reduce(%v72 init: %v76) applies stablehlo.add across dimensions = [4] : (tensor<2x2x1x16x16xf32>, tensor<f32>) -> tensor<2x2x1x16xf32>
    %v78 = stablehlo.broadcast_in_dim %v77, dims = [0, 1, 2, 3] : (tensor<2x2x1x16xf32>) -> tensor<2x2x1x16x4xf32>
    %v79 = stablehlo.divide %v75, %v78 : tensor<2x2x1x16x4xf32>
    %v80 = stablehlo.transpose %v79, dims = [0, 3, 1, 2, 4] : (tensor<2x2x1x16x4xf32>) -> tensor<2x16x2x1x4xf32>
    %v81 = stablehlo.reshape %v80 : (tensor<2x16x2x1x4xf32>) -> tensor<32x8xf32>
    %v82 = stablehlo.dot_general %v81, %a7, contracting_dims = [1] x [1], precision = [HIGHEST, HIGHEST] : (tensor<32x8xf32>, tensor<8x8xf32>) -> tensor<32x8xf32>
    %v83 = stablehlo.add %a0, %v82 : tensor<32x8xf32>
    return %v83 : tensor<32x8xf32>
  }
  func.func private @part2(%a0: tensor<32x8xf32>, %a1: tensor<8xf32>, %a2: tensor<8x8xf32>, %a3: tensor<8x8xf32>) -> (tensor<32x8xf32>) {
    %v0 = stablehlo.reshape %a0 : (tensor<32x8xf32>) -> tensor<32x1x8xf32>
    %v1 = stablehlo.multiply %v0, %v0 : tensor<32x1x8xf32>
    %v2 = stablehlo.constant dense<0.00000000e+0> : tensor<f32>
    %v3 = stablehlo.reduce(%v1 init: %v2) applies stablehlo.add across dimensions = [2] : (tensor<32x1x8xf32>, tensor<f32>) -> tensor<32x1xf32>
    %v4 = stablehlo.constant dense<8.00000000e+0> : tensor<32x1xf32>
    %v5 = stablehlo.divide %v3, %v4 : tensor<32x1xf32>
    %v6 = stablehlo.constant dense<1.00000000e-6> : tensor<32x1xf32>
    %v7 = stablehlo.add %v5, %v6 : tensor<32x1xf32>
    %v8 = stablehlo.rsqrt %v7 : tensor<32x1xf32>
    %v9 = stablehlo.broadcast_in_dim %v8, dims = [0, 1] : (tensor<32x1xf32>) -> tensor<32x1x8xf32>
    %v10 = stablehlo.multiply %v0, %v9 : tensor<32x1x8xf32>
    %v11 = stablehlo.broadcast_in_dim %a1, dims = [2] : (tensor<8xf32>) -> tensor<32x1x8xf32>
    %v12 = stablehlo.multiply %v10, %v11 : tensor<32x1x8xf32>
    %v13 = stablehlo.reshape %v12 : (tensor<32x1x8xf32>) -> tensor<32x8xf32>
    %v14 = stablehlo.dot_general %v13, %a2, contracting_dims = [1] x [1], precision = [HIGHEST, HIGHEST] : (tensor<32x8xf32>, tensor<8x8xf32>) -> tensor<32x8xf32>
    %v15 = stablehlo.logistic %v14 : tensor<32x8xf32>
    %v16 = stablehlo.multiply %v14, %v15 : tensor<32x8xf32>
    %v17 = stablehlo.dot_general %v16, %a3, contracting_dims = [1] x [1], precision = [HIGHEST, HIGHEST] : (tensor<32x8xf32>, tensor<8x8xf32>) -> tensor<32x8xf32>
    %v18 = stablehlo.add %a0, %v17 : tensor<32x8xf32>
    return %v18 : tensor<32x8xf32>
  }
}
